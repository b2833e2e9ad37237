"""Config and preset of the experiment on needles in haystacks."""

import dataclasses

from attnjax.config import Config, check_each_once, setting
from attnjax.models import MemoryLMConfig
from attnjax.training import OptimizerConfig, ProcessesConfig
from experiments.memory_models import ARCHITECTURES, check_window
from experiments.needle.haystacks import HaystackConfig
from experiments.seeds_at_once import check_looks

__all__ = ["PRESETS", "VARIANTS", "NeedleConfig"]

# What each changes in the model of the config.
VARIANTS = ARCHITECTURES | {
  "delta net": {"architecture": "memory", "rule": "delta_net"}
}


@dataclasses.dataclass(frozen=True)
class NeedleConfig(Config):
  """All that decides the experiment."""

  variants: tuple[str, ...] = setting(
    tuple(VARIANTS), "each is trained", choices=tuple(VARIANTS)
  )
  rates: tuple[float, ...] = setting(
    (1e-3, 3e-3, 1e-2), "learning rates, each tried", above=0
  )
  seeds: int = setting(3, "repetitions with other draws", at_least=1)
  steps: int = setting(2000, "updates of a training", at_least=1)
  every: int = setting(50, "steps between looks, a divisor", at_least=1)
  lengths: tuple[int, ...] = setting(
    (256, 1024, 4096, 16_384), "tokens of a row in tests", at_least=1
  )
  rows: int = setting(32, "rows of each test", at_least=1)
  model: MemoryLMConfig = MemoryLMConfig(
    window=32, persistent=4, width=64, depth=2, heads=2, hidden=128
  )
  task: HaystackConfig = HaystackConfig()
  optimizer: OptimizerConfig = OptimizerConfig(warmup=0.05, weight_decay=0.0)
  processes: ProcessesConfig = ProcessesConfig()

  def __post_init__(self):
    super().__post_init__()
    for name in ("variants", "rates"):
      check_each_once(self, name)
    check_window(self.model)
    check_looks(self.steps, self.every)
    if min(self.lengths, default=0) < self.task.least:
      raise ValueError(
        f"lengths must be numbers of at least {self.task.least}, got"
        f" {self.lengths}"
      )


def tiny() -> NeedleConfig:
  """Ten variants, three rates, three seeds: a day of a core."""
  return NeedleConfig()


PRESETS = {"tiny": tiny}
