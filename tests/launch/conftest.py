"""What the tests of launchers share."""

import pytest
from stubs import Stubs


@pytest.fixture
def stubs(tmp_path, monkeypatch):
  """Programs that only note how they were called."""
  return Stubs(tmp_path / "stubs", monkeypatch)
