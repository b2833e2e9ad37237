"""Config and preset of the experiment on tracking a state."""

import dataclasses
from typing import Any

from attnjax.config import Config, check_each_once, setting
from attnjax.models import MemoryLMConfig
from attnjax.training import OptimizerConfig, ProcessesConfig
from experiments.memory_models import ARCHITECTURES
from experiments.seeds_at_once import check_looks
from experiments.state_tracking.groups import GROUPS

__all__ = ["PRESETS", "VARIANTS", "TrackingConfig"]

_DELTA = {"architecture": "memory", "rule": "delta_net"}
# Just below 2, where an eigenvalue of a write is -1.
_NEGATIVE = {"max_rate": 1.999}
# What each changes in the model of the config.
VARIANTS: dict[str, dict[str, Any]] = {
  "rates to 2": _DELTA | _NEGATIVE,
  "rates to 1": _DELTA,
  "two writes, rates to 2": _DELTA | _NEGATIVE | {"writes": 2},
  "two writes, rates to 1": _DELTA | {"writes": 2},
  "full attention": ARCHITECTURES["full attention"],
}


@dataclasses.dataclass(frozen=True)
class TrackingConfig(Config):
  """All that decides the experiment."""

  groups: tuple[str, ...] = setting(
    tuple(GROUPS), "whose words are read", choices=tuple(GROUPS)
  )
  variants: tuple[str, ...] = setting(
    tuple(VARIANTS), "each is trained", choices=tuple(VARIANTS)
  )
  rates: tuple[float, ...] = setting(
    (3e-3, 1e-2), "learning rates, each tried", above=0
  )
  seeds: int = setting(3, "repetitions with other draws", at_least=1)
  steps: int = setting(1500, "updates of a training", at_least=1)
  every: int = setting(50, "steps between looks, a divisor", at_least=1)
  length: int = setting(40, "letters of a word in training", at_least=1)
  batch_size: int = setting(32, "words of a step, B", at_least=1)
  lengths: tuple[int, ...] = setting(
    (40, 80, 160, 256),
    "letters of a word in tests, rising from that of training",
    at_least=1,
  )
  rows: int = setting(128, "words of each test", at_least=1)
  model: MemoryLMConfig = MemoryLMConfig(
    width=32, depth=1, heads=2, hidden=64, start="identity"
  )
  optimizer: OptimizerConfig = OptimizerConfig(warmup=0.05, weight_decay=0.0)
  processes: ProcessesConfig = ProcessesConfig()

  def __post_init__(self):
    super().__post_init__()
    for name in ("groups", "variants", "rates"):
      check_each_once(self, name)
    if self.lengths != tuple(sorted({self.length, *self.lengths})):
      raise ValueError(
        f"lengths must rise and hold length={self.length}, got {self.lengths};"
        " at it the learning rate is chosen"
      )
    check_looks(self.steps, self.every)


def tiny() -> TrackingConfig:
  """Four groups, five variants, two rates, three seeds."""
  return TrackingConfig()


PRESETS = {"tiny": tiny}
