"""Configs of training runs, and which of their settings identify a run."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from attnjax.config import Config, leaves, setting
from attnjax.runs.mesh import MeshConfig
from attnjax.training import LoopConfig, OptimizerConfig, ProcessesConfig

__all__ = ["FitConfig", "TrainConfig", "what_decides"]


@dataclasses.dataclass(frozen=True)
class TrainConfig(LoopConfig):
  """The training loop of a run, its step, its mesh and its processes.

  Raises:
    ValueError: a value is outside its range.

  >>> TrainConfig(steps=1000).evaluate_every
  500
  """

  microbatches: int = setting(
    1, "parts of a batch run one after the other, to save memory", at_least=1
  )
  compute_dtype: str = setting(
    "float32",
    "dtype of the parameters inside the loss; they stay float32 outside",
    choices=("float32", "bfloat16"),
  )
  seed: int = setting(
    0, "of the random keys of every step", at_least=0, below=2**32
  )
  watch: bool = setting(
    False,
    "record the entropy of every head with each evaluation, and pictures of the"
    " heads for TensorBoard, on the first row of the first batch",
    decides=False,
  )
  mesh: MeshConfig = MeshConfig()
  processes: ProcessesConfig = ProcessesConfig()


@dataclasses.dataclass(frozen=True)
class FitConfig(Config):
  """Base of configs with an `optimizer` and a `train`, checked together.

  A subclass may also have `seeds`, the number of runs with seeds from
  `train.seed` on, and a `batch_size`, its own or that of its `data` or `task`.

  Raises:
    ValueError: the warm-up is as long as the run, the last of the seeds is too
      large, or microbatches do not divide a batch.

  >>> import dataclasses
  >>> from attnjax.training import OptimizerConfig
  >>> @dataclasses.dataclass(frozen=True)
  ... class Experiment(FitConfig):
  ...   optimizer: OptimizerConfig = OptimizerConfig()
  ...   train: TrainConfig = TrainConfig(steps=20)
  >>> Experiment(OptimizerConfig(warmup_steps=20))
  Traceback (most recent call last):
  ValueError: optimizer.warmup_steps must be below the 20 steps of the run, got
  20; train for longer, or leave it out to warm up for a share of the run
  """

  def __post_init__(self) -> None:
    super().__post_init__()
    # Fields of the subclass: this base declares none.
    parts = vars(self)
    train: TrainConfig = parts["train"]
    optimizer: OptimizerConfig = parts["optimizer"]
    optimizer.warmup_of(train.steps)

    # As `TrainConfig.seed`: the last of the seeds has to be below too.
    last = train.seed + parts.get("seeds", 1) - 1
    if last >= 2**32:
      raise ValueError(
        f"train.seed must leave room for {parts['seeds']} seeds below 2**32,"
        f" got {train.seed}"
      )

    for prefix, part in (
      ("", self),
      ("data.", parts.get("data")),
      ("task.", parts.get("task")),
    ):
      rows = getattr(part, "batch_size", train.microbatches)
      if rows % train.microbatches:
        raise ValueError(
          f"train.microbatches must divide {prefix}batch_size={rows}, got"
          f" {train.microbatches}"
        )


def what_decides(identity: Mapping[str, Any]) -> dict[str, Any]:
  """The identity of a run without settings that do not affect its results.

  A run may be resumed on another mesh or number of processes, and with other
  intervals of records, evaluations and checkpoints.

  Args:
    identity: nested values, in which a `TrainConfig` is called `train`.

  >>> what_decides({"train": {"seed": 0, "log_every": 5, "mesh": {"data": 8}}})
  {'train': {'seed': 0}}
  """
  return _without(identity, ())


def _without(
  tree: Mapping[str, Any], dropped: tuple[str, ...]
) -> dict[str, Any]:
  """Nested values without some dotted names."""
  kept = {}
  for name, value in tree.items():
    if name in dropped:
      continue
    # These two say where a run is computed, and change no number.
    if name in ("mesh", "processes") and isinstance(value, Mapping):
      continue

    below = tuple(
      path.removeprefix(f"{name}.")
      for path in dropped
      if path.startswith(f"{name}.")
    )

    if name == "train":
      below += _UNDECIDED

    if isinstance(value, Mapping):
      inner = _without(value, below)
      # A config all of whose leaves are dropped is dropped itself.
      if value and not inner:
        continue
      value = inner

    kept[name] = value

  return kept


_UNDECIDED = tuple(
  leaf.name for leaf in leaves(TrainConfig()) if not leaf.decides
)
