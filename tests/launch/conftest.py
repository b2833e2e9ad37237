"""What the tests of launchers share."""

import importlib

import pytest
from stubs import Stubs

from launch.command_line import run


@pytest.fixture
def stubs(tmp_path, monkeypatch):
  """Programs that only note how they were called."""
  return Stubs(tmp_path / "stubs", monkeypatch)


@pytest.fixture
def launcher(capsys):
  """Calls a launcher with a command line: (exit code, output, errors)."""

  def call(place, *argv):
    module = importlib.import_module(f"launch.{place}.__main__")
    with pytest.raises(SystemExit) as end:
      run(module.program, getattr(module, "define_own", None), ["x", *argv])
    return end.value.code, *capsys.readouterr()

  return call
