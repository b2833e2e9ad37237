"""Parameters of a test of which the default suite runs a few."""

import pytest

__all__ = ["few"]


def few(values, *kept):
  """The values, all but those that are kept marked as slow.

  For a law that is shown on several settings: the kept ones are those that no
  other test of the default suite has, or of which most is asked.
  """
  values = list(values)
  missing = [one for one in kept if one not in values]
  if missing:
    raise ValueError(f"kept must be among the values, got {missing}")
  slow = pytest.mark.slow
  return [v if v in kept else pytest.param(v, marks=slow) for v in values]
