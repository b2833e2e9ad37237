"""Which checkpoints stay: the newest ones, and the best one."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from attnjax.config import Config, setting


@dataclasses.dataclass(frozen=True)
class CheckpointConfig(Config):
  """When a training loop saves, and what is kept.

  Args:
    every_steps: for the loop; `Checkpoints.save` saves whenever it is called.
    keep_last: number of newest steps kept; the way back from a damaged one.
    keep_best: also keep the step of the lowest metric.

  Raises:
    ValueError: a number is below 1.

  >>> CheckpointConfig(keep_last=2).keep_best
  True
  """

  every_steps: int = setting(
    1000, "optimizer steps between two checkpoints", at_least=1, decides=False
  )
  keep_last: int = setting(
    3, "number of newest checkpoints that are kept", at_least=1, decides=False
  )
  keep_best: bool = setting(
    True,
    "also keep the checkpoint of the lowest evaluation loss",
    decides=False,
  )


@dataclasses.dataclass(frozen=True)
class Keep:
  """Tells Orbax which steps to preserve, as its `PreservationPolicy`.

  Args:
    last: number of newest steps.
    best: also the one of the lowest metric.
    metrics: of each step, filled in while the run goes on; None where a step
      has none.
  """

  last: int
  best: bool
  metrics: Mapping[int, float | None]

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any
  ) -> list[bool]:
    """Whether to keep each checkpoint, the one being saved included."""
    del context
    steps = sorted(checkpoint.step for checkpoint in checkpoints)
    kept: set[int | None] = set(steps[-self.last :])
    if self.best:
      kept.add(best(steps, self.metrics))
    return [checkpoint.step in kept for checkpoint in checkpoints]


def best(
  steps: Sequence[int], metrics: Mapping[int, float | None]
) -> int | None:
  """The step of the lowest metric, the newest of equals; None without one.

  >>> best([1, 2, 3], {1: 0.5, 2: 0.5, 3: None})
  2
  """
  known = [(metrics.get(step), -step) for step in steps]
  found = [(metric, step) for metric, step in known if metric is not None]
  return -min(found)[1] if found else None
