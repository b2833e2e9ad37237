"""Config and preset of the experiment on recall beyond the window."""

import dataclasses

from attnjax.config import Config, check_each_once, setting
from attnjax.models import MemoryLMConfig
from attnjax.training import OptimizerConfig, ProcessesConfig
from experiments.memory_models import ARCHITECTURES, check_window
from experiments.recall_task import TaskConfig
from experiments.seeds_at_once import check_looks

__all__ = ["PRESETS", "VARIANTS", "RecallConfig", "TestConfig"]

_MEMORY = {"architecture": "memory"}
# What each variant changes in the model of the config. Two are controls: one
# cannot forget, one writes against its loss.
VARIANTS = ARCHITECTURES | {
  "Mamba-2": _MEMORY | {"rule": "mamba2"},
  "delta net": _MEMORY | {"rule": "delta_net"},
  "KDA": _MEMORY | {"rule": "kimi_delta_attention"},
  "MesaNet": _MEMORY | {"rule": "mesa_net"},
  "LMM climbing": ARCHITECTURES["LMM"] | {"objective_sign": -1},
}


@dataclasses.dataclass(frozen=True)
class TestConfig(Config):
  """Rows to test on: pairs at once, a gap of filler, then questions."""

  __test__ = False  # pytest, looking for tests

  lengths: tuple[int, ...] = setting(
    (96, 256, 1024, 4096), "tokens of a row, T", at_least=1
  )
  pairs: int = setting(
    8, "pairs of these rows, all asked; questions of every test", at_least=1
  )
  capacities: tuple[int, ...] = setting(
    (4, 8, 16, 32, 64),
    "pairs of a row, some asked, where capacity is measured",
    at_least=1,
  )
  capacity_length: int = setting(192, "tokens of a row there", at_least=1)
  read: int = setting(
    128, "tokens before the questions, where states are changed", at_least=1
  )
  rows: int = setting(64, "rows of each measurement", at_least=1)

  def __post_init__(self):
    super().__post_init__()
    for name in ("lengths", "capacities"):
      if min(getattr(self, name), default=0) < 1:
        raise ValueError(
          f"test: {name} must be numbers of at least 1, got"
          f" {getattr(self, name)}"
        )

    if self.rows % 2:
      raise ValueError(f"test: rows must be even, got {self.rows}")
    for name, length in (
      ("lengths", min(self.lengths) - self.pairs),
      ("read", self.read),
    ):
      if length < 2 * self.pairs:
        raise ValueError(
          f"test: {name} must hold {self.pairs} pairs and as many questions,"
          f" got {getattr(self, name)}"
        )

    need = 2 * max(self.capacities) + self.pairs
    if self.capacity_length < need:
      raise ValueError(
        f"test: capacity_length must be at least {need} for the capacities"
        f" {self.capacities}, got {self.capacity_length}"
      )


@dataclasses.dataclass(frozen=True)
class RecallConfig(Config):
  """All that decides the experiment."""

  variants: tuple[str, ...] = setting(
    tuple(VARIANTS), "each is trained", choices=tuple(VARIANTS)
  )
  widths: tuple[int, ...] = setting(
    (16, 32, 64),
    "M of the models, each tried; their states grow with it",
    at_least=1,
  )
  rates: tuple[float, ...] = setting(
    (1e-3, 3e-3, 1e-2), "learning rates, each tried", above=0
  )
  seeds: int = setting(3, "repetitions with other draws", at_least=1)
  steps: int = setting(2000, "updates of a training", at_least=1)
  every: int = setting(50, "steps between looks, a divisor", at_least=1)
  model: MemoryLMConfig = MemoryLMConfig(
    window=32, persistent=4, depth=1, heads=1, chunk=16
  )
  task: TaskConfig = TaskConfig(
    keys=128,
    fillers=32,
    length=96,
    fewest=1,
    most=32,
    questions=16,
    batch_size=8,
  )
  test: TestConfig = TestConfig()
  optimizer: OptimizerConfig = OptimizerConfig(warmup=0.05, weight_decay=0.0)
  processes: ProcessesConfig = ProcessesConfig()

  def __post_init__(self):
    super().__post_init__()
    for name in ("variants", "widths", "rates"):
      check_each_once(self, name)
    check_window(self.model)
    check_looks(self.steps, self.every)

    most = max(*self.test.capacities, self.test.pairs)
    if most > self.task.keys:
      raise ValueError(
        f"task.keys must be at least the {most} pairs of a test, got"
        f" {self.task.keys}"
      )


def tiny() -> RecallConfig:
  """Fourteen variants, three widths, three rates, three seeds: a day of a core.

  Cells are kept one by one: name some of them.
  """
  return RecallConfig()


PRESETS = {"tiny": tiny}
