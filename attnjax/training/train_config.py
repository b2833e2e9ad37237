"""How long a run is, and what happens every so many steps."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from attnjax.config import setting
from attnjax.training.cluster import ProcessesConfig
from attnjax.training.mesh import MeshConfig
from attnjax.training.retention import CheckpointConfig


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """Length of a run, and what happens every so many steps.

  `microbatches`, `compute_dtype` and `seed` are for `make_step`, `processes` is
  for `joined`, which an experiment calls before anything else.

  Raises:
    ValueError: a value is outside its range.

  >>> TrainConfig(steps=1000).evaluate_every
  500
  """

  steps: int = setting(10_000, "length of the run, optimizer steps")
  evaluate_every: int = setting(
    500, "steps between evaluations; 0: only after the last step"
  )
  log_every: int = setting(10, "steps between records in metrics.jsonl")
  progress_seconds: float = setting(
    30.0, "seconds between progress lines where there is no terminal"
  )
  microbatches: int = setting(
    1, "parts of a batch run one after the other, to save memory"
  )
  compute_dtype: str = setting(
    "float32",
    "dtype of the parameters inside the loss; they stay float32 outside",
    choices=("float32", "bfloat16"),
  )
  seed: int = setting(0, "of the random keys of every step")
  checkpoint: CheckpointConfig = CheckpointConfig()
  mesh: MeshConfig = MeshConfig()
  processes: ProcessesConfig = ProcessesConfig()

  def __post_init__(self):
    for name in ("steps", "log_every", "microbatches"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"{name}: expected 1 or more, got {getattr(self, name)}"
        )
    if not 0 <= self.seed < 2**32:  # beyond it JAX counts from 0 again
      raise ValueError(
        f"seed: expected a number in [0, 2**32), got {self.seed}"
      )
    if self.evaluate_every < 0:
      raise ValueError(
        f"evaluate_every: expected 0 or more, got {self.evaluate_every}"
      )


def without_machines(identity: Mapping[str, Any]) -> dict[str, Any]:
  """What decides how a run trains, without where it does.

  A run may go on on another mesh, and on another number of processes.

  Args:
    identity: nested values, of which some hold a `TrainConfig`.

  >>> without_machines({"train": {"seed": 0, "mesh": {"data": 8}}})
  {'train': {'seed': 0}}
  """
  return {
    name: without_machines(value) if isinstance(value, Mapping) else value
    for name, value in identity.items()
    if name not in ("mesh", "processes") or not isinstance(value, Mapping)
  }
