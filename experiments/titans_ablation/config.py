"""Config and preset of the ablation of a Titans memory."""

import dataclasses
from typing import Any

from attnjax.config import Config, check_each_once, setting
from attnjax.models import MemoryLMConfig
from attnjax.training import OptimizerConfig, ProcessesConfig
from experiments.memory_models import ARCHITECTURES, check_window
from experiments.recall_task import TaskConfig
from experiments.seeds_at_once import check_looks

__all__ = ["BESIDE", "PRESETS", "VARIANTS", "AblationConfig"]

_LMM, _MAC = ARCHITECTURES["LMM"], ARCHITECTURES["MAC"]
# What each changes in the model of the config. The first is the whole.
VARIANTS: dict[str, dict[str, Any]] = {
  "LMM": _LMM,
  "no momentum": _LMM | {"without": ("momentum",)},
  "no decay": _LMM | {"without": ("decay",)},
  "no convolution": _LMM | {"convolution": 1},
  "depth 1 (a matrix)": _LMM | {"memory_depth": 1},
  "depth 3": _LMM | {"memory_depth": 3},
  "chunks of 1": _LMM | {"chunk": 1},
  "chunks of 4": _LMM | {"chunk": 4},
  "chunks of 64": _LMM | {"chunk": 64},
  "climbing": _LMM | {"objective_sign": -1},
  "MAC": _MAC,
  # Only beside attention are there persistent tokens.
  "MAC no persistent": _MAC | {"persistent": 0},
}
# What a variant is compared with, seed by seed, where that is not the whole.
BESIDE = {"MAC no persistent": "MAC"}


@dataclasses.dataclass(frozen=True)
class AblationConfig(Config):
  """All that decides the experiment."""

  variants: tuple[str, ...] = setting(
    tuple(VARIANTS), "each is trained", choices=tuple(VARIANTS)
  )
  rates: tuple[float, ...] = setting(
    (3e-3,), "learning rates, each tried", above=0
  )
  seeds: int = setting(5, "repetitions with other draws", at_least=1)
  steps: int = setting(2000, "updates of a training", at_least=1)
  every: int = setting(50, "steps between looks, a divisor", at_least=1)
  pairs: tuple[int, ...] = setting(
    (16, 32), "pairs told in a row of the tests", at_least=1
  )
  length: int = setting(192, "tokens of a row there, T", at_least=1)
  questions: int = setting(8, "keys asked in a row there", at_least=1)
  rows: int = setting(128, "rows of each test", at_least=1)
  model: MemoryLMConfig = MemoryLMConfig(
    window=32, persistent=4, width=32, depth=1, heads=1, hidden=64, chunk=16
  )
  task: TaskConfig = TaskConfig(
    keys=128,
    fillers=32,
    length=96,
    fewest=4,
    most=32,
    questions=16,
    batch_size=8,
  )
  optimizer: OptimizerConfig = OptimizerConfig(warmup=0.05, weight_decay=0.0)
  processes: ProcessesConfig = ProcessesConfig()

  def __post_init__(self):
    super().__post_init__()
    for name in ("variants", "rates", "pairs"):
      check_each_once(self, name)
    check_window(self.model)
    check_looks(self.steps, self.every)

    most = max(self.pairs)
    if most > self.task.keys:
      raise ValueError(
        f"pairs must be numbers of at most task.keys={self.task.keys}, got"
        f" {self.pairs}"
      )
    need = 2 * most + self.questions
    if self.length < need:
      raise ValueError(
        f"length must be at least the {need} tokens of {most} pairs and"
        f" {self.questions} questions, got {self.length}"
      )


def tiny() -> AblationConfig:
  """Twelve variants, one learning rate, five seeds."""
  return AblationConfig()


PRESETS = {"tiny": tiny}
