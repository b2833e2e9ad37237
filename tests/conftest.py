"""What tests of every room share."""

import pytest

from attnjax.data.assets import cached


@pytest.fixture
def asset():
  """name -> the directory of an asset's files; skips where it is not here."""

  def find(name):
    place = cached(name)
    if place is None:
      pytest.skip(
        f"asset {name!r} is not here: python -m attnjax.data.assets {name}"
      )
    return place

  return find
