"""Old import paths of public names work, and say where the name is now."""

import importlib
import pkgutil
import sys
import warnings

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
  with warnings.catch_warnings():
    # `attnjax.training.fit` is a function that has moved itself.
    warnings.simplefilter("ignore", DeprecationWarning)
    for old in moved.MOVED:
      package, _, name = old.rpartition(".")
      before = getattr(importlib.import_module(package), name, None)
      importlib.import_module(old)
      if before is not None and not isinstance(before, moved._Moved):
        taken += 1
        assert getattr(sys.modules[package], name) is before, old
  assert taken


RENAMED = {
  "attnjax.config.check_at_least": "attnjax.retired.check_at_least",
  "attnjax.nn.step_attention.RULES": "attnjax.nn.recurrent.STEP_SCORES",
  "attnjax.ops.attention.plan.plan": (
    "attnjax.ops.attention.live_tiles.live_tiles"
  ),
  "attnjax.ops.attention.reading.Reading": (
    "attnjax.ops.attention.tile_operands.CallOperands"
  ),
  "attnjax.ops.glimpse.layout.Layout": (
    "attnjax.ops.glimpse.primitive.WeightAxes"
  ),
  "attnjax.ops.masks.tables.from_fn": "attnjax.ops.masks.functions.from_fn",
  "attnjax.ops.tiles.Layout": "attnjax.ops.tiles.fold.Subscripts",
  "attnjax.parallel.compute.Table": "attnjax.parallel.division.TileCodes",
  "attnjax.parallel.layouts.Layout": (
    "attnjax.parallel.token_layouts.TokenLayout"
  ),
  "attnjax.parallel.token_layouts.runs_per_shard": (
    "attnjax.parallel.token_layouts.spans_per_shard"
  ),
  "attnjax.plan.roofline.wires": "attnjax.plan.roofline.send_bandwidth",
  "attnjax.testing.dense.Form": "attnjax.testing.oracle.StaticOptions",
  "attnjax.testing.parts.matching.SCORINGS": "attnjax.testing.parts.SCORINGS",
  "attnjax.testing.rules.Where": (
    "attnjax.testing.mask_descriptions.Coordinates"
  ),
  "attnjax.training.fit": "attnjax.runs.fit",
}


@pytest.mark.parametrize("old", RENAMED)
def test_a_renamed_name_is_the_new_object_with_a_warning(old):
  module, _, name = old.rpartition(".")
  module = importlib.import_module(module)
  with pytest.warns(DeprecationWarning, match=name):
    found = getattr(module, name)
  assert found is pkgutil.resolve_name(RENAMED[old])


@pytest.mark.parametrize("old", sorted(moved.NAMES))
def test_every_renamed_name_has_a_new_one(old):
  module, _, name = old.rpartition(".")
  assert name not in vars(importlib.import_module(module))
  pkgutil.resolve_name(moved.NAMES[old])
