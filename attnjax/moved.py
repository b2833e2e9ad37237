"""Old module paths: importable still, with a `DeprecationWarning`.

A table says where the names of a module that is gone have come to be. A finder
at the end of `sys.meta_path`, which is asked only for what does not exist,
makes a module of each: it holds nothing, and looks a name up in its new places
when it is asked for one. Names that left a module which is still there, and
names that are new ones now, are in a second table, for `__getattr__`.
"""

import importlib
import importlib.abc
import importlib.machinery
import pkgutil
import sys
import types
import warnings
from typing import Any

__all__ = ["MOVED", "NAMES", "install", "moved_name"]

# Old module -> the modules that have its names, the likeliest first. One
# version keeps an old path; the next may drop it.
MOVED: dict[str, tuple[str, ...]] = {
  "attnjax.models.albert_weights": ("attnjax.models.albert",),
  "attnjax.models.decoder_block": ("attnjax.models.decoder",),
  "attnjax.models.encoder_decoder_config": ("attnjax.models.encoder_decoder",),
  "attnjax.models.hypotheses": ("attnjax.models.beam_search",),
  "attnjax.models.memory": ("attnjax.models.encoded_source",),
  "attnjax.models.memory_config": ("attnjax.models.memory_lm",),
  "attnjax.models.parameters": ("attnjax.models.decoder",),
  "attnjax.models.seq2seq_config": ("attnjax.models.seq2seq",),
  "attnjax.models.vit_config": ("attnjax.models.vit",),
  "attnjax.nn.block": ("attnjax.nn.transformer_block",),
  "attnjax.nn.content_glimpse": ("attnjax.nn.glimpse",),
  "attnjax.nn.cross_block": ("attnjax.nn.transformer_block",),
  "attnjax.nn.memory": ("attnjax.nn.neural_memory",),
  "attnjax.nn.memory_as_context": ("attnjax.nn.memory_blocks",),
  "attnjax.nn.self_attention": ("attnjax.nn.attention",),
  "attnjax.nn.step_attention": ("attnjax.nn.recurrent",),
  "attnjax.nn.titans": ("attnjax.nn.memory_blocks",),
  "attnjax.nn.window": ("attnjax.nn.window_attention",),
  "attnjax.ops.angles": ("attnjax.ops.positions",),
  "attnjax.ops.attention.api": ("attnjax.ops.attention.attend",),
  "attnjax.ops.attention.blocks": ("attnjax.ops.attention.block_sizes",),
  "attnjax.ops.attention.call": ("attnjax.ops.attention.arguments",),
  "attnjax.ops.attention.check": ("attnjax.ops.attention.validate",),
  "attnjax.ops.attention.checked": ("attnjax.ops.attention.arguments",),
  "attnjax.ops.attention.choice": ("attnjax.ops.attention.implementations",),
  "attnjax.ops.attention.explicit": (
    "attnjax.ops.attention.explicit_sharding",
  ),
  "attnjax.ops.attention.modified": ("attnjax.ops.attention.logits",),
  "attnjax.ops.attention.online": ("attnjax.ops.attention.online_softmax",),
  "attnjax.ops.attention.padding": ("attnjax.ops.attention.block_sizes",),
  "attnjax.ops.attention.plan": ("attnjax.ops.attention.live_tiles",),
  "attnjax.ops.attention.reading": ("attnjax.ops.attention.tile_operands",),
  "attnjax.ops.attention.selection": ("attnjax.ops.attention.tile_operands",),
  "attnjax.ops.attention.sums": ("attnjax.ops.attention.online_softmax",),
  "attnjax.ops.attention.tangent": ("attnjax.ops.attention.online_softmax",),
  "attnjax.ops.cross": ("attnjax.ops.cross_attention",),
  "attnjax.ops.drop": ("attnjax.ops.feature_dropout",),
  "attnjax.ops.forgotten": ("attnjax.ops.forgotten_tokens",),
  "attnjax.ops.glimpse.estimators": ("attnjax.ops.glimpse",),
  "attnjax.ops.glimpse.layout": ("attnjax.ops.glimpse.primitive",),
  "attnjax.ops.glimpse.weigh": ("attnjax.ops.glimpse.primitive",),
  "attnjax.ops.masks.covering": ("attnjax.ops.masks.arrays",),
  "attnjax.ops.masks.drawing": ("attnjax.ops.masks.picture",),
  "attnjax.ops.masks.extents": (
    "attnjax.ops.masks.rules",
    "attnjax.ops.masks.padding",
    "attnjax.ops.masks.tables",
  ),
  "attnjax.ops.masks.ranges": ("attnjax.ops.masks.bounds",),
  "attnjax.ops.masks.rectangles": ("attnjax.ops.masks.bounds",),
  "attnjax.ops.masks.rows": ("attnjax.ops.masks.bounds",),
  "attnjax.ops.masks.table": ("attnjax.ops.masks.tables",),
  "attnjax.ops.memory.api": ("attnjax.ops.memory.read_write",),
  "attnjax.ops.memory.exact": ("attnjax.ops.memory.token_gradients",),
  "attnjax.ops.memory.features": ("attnjax.ops.memory.structures",),
  "attnjax.ops.memory.presets": ("attnjax.ops.memory.rule",),
  "attnjax.ops.normalizers.choosing": ("attnjax.ops.normalizers",),
  "attnjax.ops.normalizers.pointwise": ("attnjax.ops.normalizers",),
  "attnjax.ops.normalizers.protocol": ("attnjax.ops.normalizers",),
  "attnjax.ops.normalizers.sharing": ("attnjax.ops.normalizers",),
  "attnjax.ops.pattern": ("attnjax.ops.patterns",),
  "attnjax.ops.rollout": ("attnjax.ops.patterns",),
  "attnjax.ops.score_mods.protocol": ("attnjax.ops.score_mods",),
  "attnjax.ops.score_mods.relative": ("attnjax.ops.score_mods",),
  "attnjax.ops.score_mods.rules": ("attnjax.ops.score_mods",),
  "attnjax.ops.scoring.additive": ("attnjax.ops.scoring",),
  "attnjax.ops.scoring.geometry": ("attnjax.ops.scoring",),
  "attnjax.ops.scoring.products": ("attnjax.ops.scoring",),
  "attnjax.ops.scoring.protocol": ("attnjax.ops.scoring",),
  "attnjax.ops.alike": ("attnjax.ops.vmap_consistent",),
  "attnjax.ops.divided": ("attnjax.ops.explicit_axes",),
  "attnjax.ops.known": ("attnjax.ops.value_checks",),
  "attnjax.ops.node": ("attnjax.ops.pytree_dataclass",),
  "attnjax.ops.varying": ("attnjax.ops.shard_map_axes",),
  "attnjax.ops.tiles.derived": ("attnjax.ops.tiles.tile_sum",),
  "attnjax.ops.tiles.primitive": ("attnjax.ops.tiles.tile_sum",),
  "attnjax.ops.tiles.sweep": ("attnjax.ops.tiles.fold",),
  "attnjax.parallel.carried": ("attnjax.parallel.collectives",),
  "attnjax.parallel.compute": (
    "attnjax.parallel.division",
    "attnjax.parallel.collectives",
  ),
  "attnjax.parallel.gather": ("attnjax.parallel.collectives",),
  "attnjax.parallel.layouts": ("attnjax.parallel.token_layouts",),
  "attnjax.parallel.ring": ("attnjax.parallel.collectives",),
  "attnjax.parallel.sharded": ("attnjax.parallel.sharded_attention",),
  "attnjax.parallel.wiring": ("attnjax.parallel.mesh",),
  "attnjax.plan.devices": ("attnjax.plan.topology",),
  "attnjax.plan.flops": ("attnjax.plan.costs",),
  "attnjax.plan.gpu_target": ("attnjax.plan.hardware",),
  "attnjax.plan.hlo_text": ("attnjax.plan.hlo",),
  "attnjax.plan.memory": ("attnjax.plan.device_memory",),
  "attnjax.plan.picture": ("attnjax.plan.figure",),
  "attnjax.plan.traffic": ("attnjax.plan.costs",),
  "attnjax.plan.written": ("attnjax.plan",),
  "attnjax.testing.budget": ("attnjax.testing.error_budget",),
  "attnjax.testing.compiling": ("attnjax.testing.runner",),
  "attnjax.testing.dense": ("attnjax.testing.oracle",),
  "attnjax.testing.devices": ("attnjax.testing.laws",),
  "attnjax.testing.draws": ("attnjax.testing.problem",),
  "attnjax.testing.dropout": ("attnjax.testing.dropout_laws",),
  "attnjax.testing.locality": ("attnjax.testing.hidden_keys",),
  "attnjax.testing.mapped": ("attnjax.testing.laws",),
  "attnjax.testing.memory": ("attnjax.testing.memory_growth",),
  "attnjax.testing.random": ("attnjax.testing.strategies",),
  "attnjax.testing.rules": ("attnjax.testing.mask_descriptions",),
  "attnjax.testing.structure": ("attnjax.testing.hidden_keys",),
  "attnjax.testing.subject": ("attnjax.testing.runner",),
  "attnjax.testing.truth": ("attnjax.testing.error_budget",),
  "attnjax.training.alone": ("attnjax.training.workdir",),
  "attnjax.training.digests": ("attnjax.training.step_directories",),
  "attnjax.training.feed": ("attnjax.training.global_batches",),
  "attnjax.training.json_lines": ("attnjax.training.metrics",),
  "attnjax.training.launchers": ("attnjax.training.cluster",),
  "attnjax.training.leaves": ("attnjax.training.flat_state",),
  "attnjax.training.mesh": ("attnjax.runs", "attnjax.training"),
  "attnjax.training.retention": ("attnjax.training.checkpoint",),
  "attnjax.training.run": ("attnjax.training.loop",),
  "attnjax.training.train_config": ("attnjax.runs",),
  "attnjax.training.trainable": ("attnjax.training.state",),
  "attnjax.training.workdir_probe": ("attnjax.training.workdir",),
}

# Old name -> where it is now, a path of attributes below a module.
NAMES: dict[str, str] = {
  "attnjax.training.Feed": "attnjax.training.GlobalBatches",
  "attnjax.training.FitConfig": "attnjax.runs.FitConfig",
  "attnjax.training.Fitted": "attnjax.runs.Fitted",
  "attnjax.training.MeshConfig": "attnjax.runs.MeshConfig",
  "attnjax.training.TrainConfig": "attnjax.runs.TrainConfig",
  "attnjax.training.digests.problem": (
    "attnjax.training.step_directories.find_damage"
  ),
  "attnjax.training.digests.write": (
    "attnjax.training.step_directories.write_digests"
  ),
  "attnjax.training.evaluation.tried": (
    "attnjax.training.evaluation.check_evaluation"
  ),
  "attnjax.training.feed.Feed": "attnjax.training.GlobalBatches",
  "attnjax.training.feed.own_rows": (
    "attnjax.training.global_batches.process_rows"
  ),
  "attnjax.training.feed.put": "attnjax.training.global_batches.put_batch",
  "attnjax.training.feed.put_beside": (
    "attnjax.training.global_batches.put_batch_like"
  ),
  "attnjax.training.fit": "attnjax.runs.fit",
  "attnjax.training.gathered": "attnjax.training.gather_tree",
  "attnjax.training.leaves.Table": "attnjax.training.flat_state.LeafSpecs",
  "attnjax.training.leaves.assemble": (
    "attnjax.training.flat_state.unflatten_state"
  ),
  "attnjax.training.leaves.difference": (
    "attnjax.training.flat_state.spec_difference"
  ),
  "attnjax.training.leaves.named": (
    "attnjax.training.flat_state.leaves_by_path"
  ),
  "attnjax.training.leaves.storable": (
    "attnjax.training.flat_state.flatten_state"
  ),
  "attnjax.training.leaves.table": "attnjax.training.flat_state.leaf_specs",
  "attnjax.training.make_mesh": "attnjax.runs.MeshConfig.make",
  "attnjax.training.partition.gathered": "attnjax.training.gather_tree",
  "attnjax.training.partition.spread": "attnjax.training.shard_tree",
  "attnjax.training.processes.watched": (
    "attnjax.training.processes.exit_when_peer_lost"
  ),
  "attnjax.training.spread": "attnjax.training.shard_tree",
  "attnjax.training.what_decides": "attnjax.runs.what_decides",
  "attnjax.training.workdir.alone_in": "attnjax.training.workdir.workdir_lock",
  "attnjax.training.workdir.lacking": (
    "attnjax.training.workdir.missing_ability"
  ),
}


def moved_name(module: str, name: str) -> Any:
  """What a module had under a name, from where it is now, with a warning.

  Args:
    module: its dotted name.
    name: what it was asked for and does not have.

  Raises:
    AttributeError: the module never had such a name.

  >>> import warnings
  >>> with warnings.catch_warnings(record=True) as said:
  ...   warnings.simplefilter("always")
  ...   print(moved_name("attnjax.training", "fit").__module__)
  attnjax.runs.fitting
  >>> print(said[0].message)
  attnjax.training.fit has moved: use attnjax.runs.fit
  """
  new = NAMES.get(f"{module}.{name}")
  if new is None:
    raise AttributeError(f"module {module!r} has no attribute {name!r}")

  # Of the caller of the module's `__getattr__`, which calls this.
  warnings.warn(
    f"{module}.{name} has moved: use {new}", DeprecationWarning, stacklevel=3
  )
  return pkgutil.resolve_name(new)


class _Moved(types.ModuleType):
  """A module that is gone: each of its names is read where it is now."""

  def __getattr__(self, name: str):
    """The name in its new module, with a warning that says which.

    Raises:
      AttributeError: no new place has such a name.
    """
    # `from old import *` asks for `__all__` and gets the names themselves;
    # what else has underscores is the import system's own business.
    if name.startswith("__") and name != "__all__":
      raise AttributeError(name)

    if f"{self.__name__}.{name}" in NAMES:
      return moved_name(self.__name__, name)

    for place in MOVED[self.__name__]:
      module = importlib.import_module(place)
      if hasattr(module, name):
        warnings.warn(
          f"{self.__name__}.{name} has moved: import it from {place}",
          DeprecationWarning,
          stacklevel=2,
        )
        return getattr(module, name)

    raise AttributeError(
      f"module {self.__name__!r} has moved to"
      f" {' and '.join(MOVED[self.__name__])}, where there is no {name!r}"
    )


class _KeepsNames(types.ModuleType):
  """A package of which a function is named as a module that is gone."""

  def __setattr__(self, name: str, value):
    """As ever, but that a module that is gone takes no name that is taken."""
    if not (isinstance(value, _Moved) and name in vars(self)):
      super().__setattr__(name, value)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  """Finds the modules of the table, and nothing else."""

  def find_spec(self, fullname, path=None, target=None):
    """A spec of a module that has moved; None of any other."""
    del path, target
    if fullname not in MOVED:
      return None
    # A package too, for modules below it may have moved as well.
    return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

  def create_module(self, spec):
    """An empty module that forwards its names."""
    return _Moved(spec.name)

  def exec_module(self, module):
    """Nothing runs: there is no file; what has its name keeps it.

    Python makes a module that it has imported an attribute of its package:
    `attnjax.ops.scoring.additive` would no longer be the function.
    """
    package, _, name = module.__name__.rpartition(".")
    if name in vars(sys.modules[package]):
      sys.modules[package].__class__ = _KeepsNames


def install() -> None:
  """Makes old paths importable; a second call changes nothing.

  >>> import sys
  >>> install()
  >>> sum(isinstance(finder, _Finder) for finder in sys.meta_path)
  1
  """
  if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
    sys.meta_path.append(_Finder())

  for old in MOVED:
    parent = sys.modules.get(old.rpartition(".")[0])
    # Python asks for what is below a package only: what was one and is a file
    # now gets a path, on which nothing lies.
    if parent is not None and not hasattr(parent, "__path__"):
      parent.__path__ = []
