"""The presets of the experiment on external memory."""

import dataclasses

from attnjax.config import check_at_least, setting
from attnjax.training import CheckpointConfig, OptimizerConfig, TrainConfig

__all__ = ["PRESETS", "ExternalMemoryConfig", "TrainedConfig"]


@dataclasses.dataclass(frozen=True)
class TrainedConfig:
  """The layer that learns to ask a store."""

  slots: int = setting(32, "pairs in the store of a row, S")
  questions: int = setting(8, "noisy keys a row asks with, T")
  noise: float = setting(0.1, "standard deviation on each feature of a key")
  model_width: int = setting(64, "model width M, features")
  heads: int = setting(1, "heads H")
  batch_size: int = setting(64, "rows in a batch, B")


@dataclasses.dataclass(frozen=True)
class ExternalMemoryConfig:
  """All that the experiment is determined by."""

  sizes: tuple[int, ...] = setting(
    (16, 64, 256, 1024, 4096), "pairs M in the store"
  )
  noises: tuple[float, ...] = setting(
    (0.05, 0.1, 0.2, 0.3, 0.4, 0.6),
    "standard deviation on each feature of a unit key",
  )
  width: int = setting(64, "features D of a key")
  symbols: int = setting(64, "values that a pair may hold")
  questions: int = setting(512, "noisy keys asked, for each store and seed")
  seeds: int = setting(3, "repetitions with other draws")
  trained: TrainedConfig = TrainedConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()

  def __post_init__(self):
    if min(self.sizes, default=0) < 1:
      raise ValueError(f"sizes: expected numbers >= 1, got {self.sizes}")
    if not min(self.noises, default=0) > 0:
      raise ValueError(f"noises: expected numbers above 0, got {self.noises}")
    check_at_least(self, 1, "width", "symbols", "questions", "seeds")


def tiny() -> ExternalMemoryConfig:
  """Every store measured, two layers trained, minutes on two cores."""
  return ExternalMemoryConfig(
    optimizer=OptimizerConfig(
      peak_learning_rate=3e-3, warmup_steps=50, weight_decay=0.0
    ),
    train=TrainConfig(
      steps=1500,
      evaluate_every=500,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=1000),
    ),
  )


PRESETS = {"tiny": tiny}
