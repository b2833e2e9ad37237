"""Config and presets of the experiment on starts that learn to recall."""

import dataclasses
from typing import Any

from attnjax.config import Config, check_each_once, setting
from attnjax.models import MemoryLMConfig
from attnjax.training import OptimizerConfig, ProcessesConfig
from experiments.memory_models import ARCHITECTURES
from experiments.recall_task import TaskConfig
from experiments.seeds_at_once import check_looks

__all__ = ["HALVES", "KINDS", "PRESETS", "StartsConfig"]

# What each changes in the model of the config.
KINDS: dict[str, dict[str, Any]] = {
  "delta net": {"architecture": "memory", "rule": "delta_net"},
  "LMM": ARCHITECTURES["LMM"],
  "gated delta net": ARCHITECTURES["gated delta net"],
  "linear attention": ARCHITECTURES["linear attention"],
  "MAG": ARCHITECTURES["MAG"],
}
# (whether queries begin as keys, whether a key begins as the token before).
HALVES = {
  "both": (True, True),
  "neither": (False, False),
  "queries as keys": (True, False),
  "shifted keys": (False, True),
}


@dataclasses.dataclass(frozen=True)
class StartsConfig(Config):
  """All that decides the experiment."""

  kinds: tuple[str, ...] = setting(
    tuple(KINDS), "each is trained", choices=tuple(KINDS)
  )
  halves: tuple[str, ...] = setting(
    tuple(HALVES),
    "starts that each kind is trained from",
    choices=tuple(HALVES),
  )
  rates: tuple[float, ...] = setting(
    (1e-2,), "learning rates, each tried", above=0
  )
  seeds: int = setting(5, "repetitions with other draws", at_least=1)
  steps: int = setting(3000, "at most; what takes more is censored", at_least=1)
  every: int = setting(
    25, "steps between looks at the accuracy; a divisor of `steps`", at_least=1
  )
  goals: tuple[float, ...] = setting(
    (0.5, 0.9),
    "accuracies whose step is told; the last one ends training",
    above=0,
    at_most=1,
  )
  model: MemoryLMConfig = MemoryLMConfig(
    width=32, depth=1, heads=1, hidden=64, window=8, persistent=4
  )
  task: TaskConfig = TaskConfig(length=48, questions=12, rewritten=0.0)
  optimizer: OptimizerConfig = OptimizerConfig(
    warmup_steps=25, floor=1.0, weight_decay=0.0
  )
  processes: ProcessesConfig = ProcessesConfig()

  def __post_init__(self):
    super().__post_init__()
    for name in ("kinds", "halves", "rates"):
      check_each_once(self, name)
    check_looks(self.steps, self.every)
    ends = self.goals[:1] + self.goals[-1:]
    if len(self.goals) != 2 or not 0 < ends[0] < ends[1] <= 1:
      raise ValueError(
        f"goals must be two accuracies that rise, within 0 and 1, got"
        f" {self.goals}"
      )


def tiny() -> StartsConfig:
  """Five kinds from four starts, five seeds: about two hours of one core."""
  return StartsConfig()


def rates() -> StartsConfig:
  """The learning rate's own sweep: three rates, three seeds."""
  return StartsConfig(rates=(3e-3, 1e-2, 3e-2), seeds=3, steps=1500)


PRESETS = {"tiny": tiny, "rates": rates}
