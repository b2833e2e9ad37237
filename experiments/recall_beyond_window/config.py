"""Config and presets of the experiment on recall beyond the window."""

import dataclasses

from attnjax.config import Config, check_each_once, setting
from attnjax.models import MemoryLMConfig
from attnjax.runs import FitConfig, TrainConfig
from attnjax.training import CheckpointConfig, OptimizerConfig
from experiments.memory_models import ARCHITECTURES, check_window
from experiments.recall_task import TaskConfig

__all__ = ["PRESETS", "VARIANTS", "RecallConfig", "TestConfig"]

# What each variant changes in the model of the config. Two are controls: one
# cannot forget, one writes against its loss.
VARIANTS = ARCHITECTURES | {
  "delta net": {"architecture": "memory", "rule": "delta_net"},
  "LMM climbing": ARCHITECTURES["LMM"] | {"objective_sign": -1},
}


@dataclasses.dataclass(frozen=True)
class TestConfig(Config):
  """Rows to test on: pairs at once, a gap of filler, then questions."""

  __test__ = False  # pytest, looking for tests

  lengths: tuple[int, ...] = setting(
    (128, 256, 512, 1024, 2048, 4096), "tokens of a row, T", at_least=1
  )
  pairs: int = setting(8, "pairs of a row, all asked once", at_least=1)
  capacities: tuple[int, ...] = setting(
    (4, 8, 16, 32, 64),
    "pairs of a row, some asked, where capacity is measured",
    at_least=1,
  )
  capacity_length: int = setting(256, "tokens of a row there", at_least=1)
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
class RecallConfig(FitConfig):
  """All that decides the experiment."""

  variants: tuple[str, ...] = setting(
    tuple(VARIANTS), "each is trained", choices=tuple(VARIANTS)
  )
  parameters: int = setting(
    140_000,
    "of every variant, about: what its mixing leaves over goes to the"
    " feed-forward maps",
    at_least=1,
  )
  seeds: int = setting(3, "repetitions with other draws", at_least=1)
  model: MemoryLMConfig = MemoryLMConfig(window=32, persistent=4)
  task: TaskConfig = TaskConfig()
  test: TestConfig = TestConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()

  def __post_init__(self):
    super().__post_init__()
    check_each_once(self, "variants")
    check_window(self.model)

    most = max(*self.test.capacities, self.test.pairs)
    if most > self.task.keys:
      raise ValueError(
        f"task.keys must be at least the {most} pairs of a test, got"
        f" {self.task.keys}"
      )


def tiny() -> RecallConfig:
  """Eleven variants, three seeds: hours on two cores."""
  return RecallConfig(
    model=MemoryLMConfig(window=32, persistent=4, width=64, heads=2, chunk=16),
    optimizer=OptimizerConfig(
      peak_learning_rate=4e-3, warmup=0.05, weight_decay=0.0
    ),
    train=TrainConfig(
      steps=1000,
      evaluate_every=250,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=500, keep_last=1),
    ),
  )


def base() -> RecallConfig:
  """The same, longer and wider; not run by us."""
  return RecallConfig(
    parameters=500_000,
    model=MemoryLMConfig(window=32, persistent=4, width=128, heads=4),
    optimizer=OptimizerConfig(
      peak_learning_rate=2e-3, warmup=0.02, weight_decay=0.0
    ),
    train=TrainConfig(steps=10_000, evaluate_every=1000),
  )


PRESETS = {"tiny": tiny, "base": base}
