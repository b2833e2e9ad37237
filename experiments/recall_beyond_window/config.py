"""The presets of the experiment on recall beyond the window."""

import dataclasses

from attnjax.config import check_at_least, check_each_once, setting
from attnjax.models import MemoryLMConfig
from attnjax.training import CheckpointConfig, OptimizerConfig, TrainConfig
from experiments.memory_models import ARCHITECTURES, check_window

__all__ = ["PRESETS", "VARIANTS", "RecallConfig", "TaskConfig", "TestConfig"]

# What each variant changes in the model of the config. Two are controls: one
# cannot forget, one writes against its loss.
VARIANTS = ARCHITECTURES | {
  "delta net": {"architecture": "memory", "rule": "delta_net"},
  "LMM climbing": ARCHITECTURES["LMM"] | {"objective_sign": -1},
}


@dataclasses.dataclass(frozen=True)
class TaskConfig:
  """Rows to train on."""

  keys: int = setting(64, "words that may be keys")
  values: int = setting(32, "words that may be values")
  length: int = setting(128, "tokens of a row, T")
  fewest: int = setting(2, "pairs of a row, at least")
  most: int = setting(8, "pairs of a row, at most")
  rewritten: float = setting(
    0.2, "share of the pairs whose key was told before, within 0 and 1"
  )
  questions: int = setting(32, "keys asked at the end of a row")
  batch_size: int = setting(16, "rows in a batch, B")

  def __post_init__(self):
    numbers = "keys", "values", "length", "fewest", "most", "questions"
    check_at_least(self, 1, *numbers, "batch_size", of="task")
    if self.fewest > self.most or self.most > self.keys:
      raise ValueError(
        "task: pairs must be fewest <= most <= keys, got"
        f" {self.fewest}, {self.most} and {self.keys}"
      )
    if self.length < 2 * self.most + self.questions:
      raise ValueError(
        f"task: length={self.length} does not hold {self.most} pairs and"
        f" {self.questions} questions"
      )
    if not 0 <= self.rewritten < 1:
      raise ValueError(
        f"task: rewritten must be within 0 and 1, got {self.rewritten}"
      )


@dataclasses.dataclass(frozen=True)
class TestConfig:
  """Rows to test on: pairs at once, a gap of filler, then questions."""

  __test__ = False  # pytest, looking for tests

  lengths: tuple[int, ...] = setting(
    (128, 256, 512, 1024, 2048, 4096), "tokens of a row, T"
  )
  pairs: int = setting(8, "pairs of a row, all asked once")
  capacities: tuple[int, ...] = setting(
    (4, 8, 16, 32, 64), "pairs of a row, some asked, where capacity is measured"
  )
  capacity_length: int = setting(256, "tokens of a row there")
  read: int = setting(
    128, "tokens before the questions, where states are changed"
  )
  rows: int = setting(64, "rows of each measurement")

  def __post_init__(self):
    numbers = "pairs", "capacity_length", "read", "rows"
    check_at_least(self, 1, *numbers, of="test")
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
class RecallConfig:
  """All that the experiment is determined by."""

  variants: tuple[str, ...] = setting(
    tuple(VARIANTS), "each is trained", choices=tuple(VARIANTS)
  )
  parameters: int = setting(
    140_000,
    "of every variant, about: what its mixing leaves over goes to the"
    " feed-forward maps",
  )
  seeds: int = setting(3, "repetitions with other draws")
  model: MemoryLMConfig = MemoryLMConfig(window=32, persistent=4)
  task: TaskConfig = TaskConfig()
  test: TestConfig = TestConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()

  def __post_init__(self):
    check_at_least(self, 1, "parameters", "seeds")
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
      peak_learning_rate=4e-3, warmup_steps=50, weight_decay=0.0
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
      peak_learning_rate=2e-3, warmup_steps=200, weight_decay=0.0
    ),
    train=TrainConfig(steps=10_000, evaluate_every=1000),
  )


PRESETS = {"tiny": tiny, "base": base}
