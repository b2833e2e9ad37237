"""Config and presets of the language models with a memory."""

import dataclasses

from attnjax.config import Config, check_each_once, setting
from attnjax.data import TextConfig
from attnjax.models import MemoryLMConfig
from attnjax.runs import FitConfig, TrainConfig
from attnjax.training import CheckpointConfig, OptimizerConfig
from experiments.memory_models import ARCHITECTURES, check_window

__all__ = ["PRESETS", "MemoryTextConfig", "TestConfig"]


@dataclasses.dataclass(frozen=True)
class TestConfig(Config):
  """Held-out rows, each of one document, many times as long as in training."""

  __test__ = False  # pytest, looking for tests

  times: int = setting(
    16,
    "length of a row, as a multiple of data.length: a power of 2",
    at_least=2,
  )
  rows: int = setting(
    64,
    "rows; every document gives its first, then its second, and so on",
    at_least=1,
  )
  batch_size: int = setting(4, "rows in a batch, B", at_least=1)

  def __post_init__(self):
    super().__post_init__()

    # Octaves of positions end where a row ends.
    if self.times < 2 or self.times & (self.times - 1):
      raise ValueError(
        f"test: times must be a power of 2, at least 2, got {self.times}"
      )
    if self.rows % self.batch_size or self.rows < 2:
      raise ValueError(
        f"test: rows must be 2 or more, whole batches of {self.batch_size}, got"
        f" {self.rows}"
      )


@dataclasses.dataclass(frozen=True)
class MemoryTextConfig(FitConfig):
  """Variants, seeds, and the configs of model, data, test and training."""

  variants: tuple[str, ...] = setting(
    tuple(ARCHITECTURES), "each is trained", choices=tuple(ARCHITECTURES)
  )
  parameters: int = setting(
    350_000,
    "of every variant, about: what its mixing leaves over goes to the"
    " feed-forward maps",
    at_least=1,
  )
  seeds: int = setting(3, "repetitions with other draws", at_least=1)
  model: MemoryLMConfig = MemoryLMConfig(window=64, persistent=4)
  data: TextConfig = TextConfig()
  test: TestConfig = TestConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()

  def __post_init__(self):
    super().__post_init__()
    check_each_once(self, "variants")
    check_window(self.model)

    if self.data.tokenizer != "bytes":
      raise ValueError(
        "data.tokenizer must be bytes, for positions are counted in them, got"
        f" {self.data.tokenizer}"
      )
    # The first octave ends at a quarter of it.
    if self.data.length % 4:
      raise ValueError(
        f"data.length must be a multiple of 4, got {self.data.length}"
      )


def tiny() -> MemoryTextConfig:
  """Nine variants on the sources of the standard library, a core and hours."""
  return MemoryTextConfig(
    model=MemoryLMConfig(
      # Two blocks reach 2 (60 + 3) bytes back, with what a convolution mixes:
      # no more than half of the length, which every byte has when restarted.
      window=60,
      persistent=4,
      segment=64,
      width=96,
      depth=2,
      heads=4,
      chunk=16,
    ),
    data=TextConfig(
      corpus="python", length=256, batch_size=8, heldout_fraction=0.03
    ),
    optimizer=OptimizerConfig(peak_learning_rate=3e-3, warmup=0.083),
    train=TrainConfig(
      steps=600,
      evaluate_every=200,
      log_every=10,
      checkpoint=CheckpointConfig(every_steps=100, keep_last=1),
    ),
  )


def base() -> MemoryTextConfig:
  """The same, longer, wider and deeper, for an accelerator; not run by us."""
  return MemoryTextConfig(
    parameters=8_000_000,
    model=MemoryLMConfig(
      window=124,
      persistent=16,
      segment=128,
      width=384,
      depth=4,
      heads=6,
      chunk=16,
    ),
    data=TextConfig(
      corpus="python", length=1024, batch_size=16, heldout_fraction=0.1
    ),
    test=TestConfig(rows=32),
    optimizer=OptimizerConfig(peak_learning_rate=2e-3, warmup=0.025),
    train=TrainConfig(steps=20_000, evaluate_every=2000),
  )


PRESETS = {"tiny": tiny, "base": base}
