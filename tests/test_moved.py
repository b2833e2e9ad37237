"""Old import paths of public names work, and say where the name is now."""

import importlib
import sys

import pytest

from attnjax import masks, moved


@pytest.fixture
def old_path(monkeypatch):
  """A module that never was, said to have moved."""
  monkeypatch.setitem(
    moved.MOVED, "attnjax.once_here", ("attnjax.scoring", "attnjax.masks")
  )
  return "attnjax.once_here"


def test_a_name_of_an_old_module_is_the_new_one_with_a_warning(old_path):
  module = importlib.import_module(old_path)
  with pytest.warns(DeprecationWarning, match="import it from attnjax.masks"):
    assert module.causal is masks.causal


def test_a_name_that_is_nowhere_says_where_was_looked(old_path):
  module = importlib.import_module(old_path)
  with pytest.raises(AttributeError, match="where there is no"):
    module.no_such_name


def test_a_module_that_never_was_is_not_found():
  with pytest.raises(ModuleNotFoundError):
    importlib.import_module("attnjax.never_was")


@pytest.mark.parametrize("old", sorted(moved.MOVED))
def test_every_moved_module_is_gone_and_its_places_exist(old):
  """An old file that came back would hide its entry of the table."""
  assert isinstance(importlib.import_module(old), moved._Moved)
  for place in moved.MOVED[old]:
    importlib.import_module(place)


def test_an_old_path_takes_no_name_of_what_is_there():
  # `import a.b` makes b an attribute of a, in place of a function b.
  taken = 0
  for old in moved.MOVED:
    package, _, name = old.rpartition(".")
    before = getattr(importlib.import_module(package), name, None)
    importlib.import_module(old)
    if before is not None and not isinstance(before, moved._Moved):
      taken += 1
      assert getattr(sys.modules[package], name) is before, old
  assert taken
