"""Config and preset of the external-memory experiment."""

import dataclasses

from attnjax.config import Config, setting
from attnjax.runs import FitConfig, TrainConfig
from attnjax.training import CheckpointConfig, OptimizerConfig

__all__ = ["PRESETS", "ExternalMemoryConfig", "TrainedConfig"]


@dataclasses.dataclass(frozen=True)
class TrainedConfig(Config):
  """Sizes of the trained attention layer and of its stores."""

  slots: int = setting(32, "pairs in the store of a row, S", at_least=1)
  questions: int = setting(8, "noisy keys a row asks with, T", at_least=1)
  # On 64 features a noise vector of length 0.8, beside a key of length 1.
  noise: float = setting(
    0.1, "standard deviation on each feature of a key", at_least=0
  )
  model_width: int = setting(64, "model width M, features", at_least=1)
  heads: int = setting(1, "heads H", at_least=1)
  batch_size: int = setting(64, "rows in a batch, B", at_least=1)


@dataclasses.dataclass(frozen=True)
class ExternalMemoryConfig(FitConfig):
  """Stores and noises of the untrained readers; the trained layer."""

  sizes: tuple[int, ...] = setting(
    (16, 64, 256, 1024, 4096), "pairs M in the store", at_least=1
  )
  noises: tuple[float, ...] = setting(
    (0.05, 0.1, 0.2, 0.3, 0.4, 0.6),
    "standard deviation on each feature of a unit key",
    above=0,
  )
  width: int = setting(64, "features D of a key", at_least=1)
  symbols: int = setting(64, "values that a pair may hold", at_least=1)
  questions: int = setting(
    512, "noisy keys asked, for each store and seed", at_least=1
  )
  seeds: int = setting(3, "repetitions with other draws", at_least=1)
  trained: TrainedConfig = TrainedConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()

  def __post_init__(self):
    super().__post_init__()
    if min(self.sizes, default=0) < 1:
      raise ValueError(f"sizes: expected numbers >= 1, got {self.sizes}")
    if not min(self.noises, default=0) > 0:
      raise ValueError(f"noises: expected numbers above 0, got {self.noises}")


def tiny() -> ExternalMemoryConfig:
  """Every store measured, two layers trained, minutes on two cores."""
  return ExternalMemoryConfig(
    # Warms up for 50 of 1,500 steps.
    optimizer=OptimizerConfig(
      peak_learning_rate=3e-3, warmup=0.033, weight_decay=0.0
    ),
    train=TrainConfig(
      steps=1500,
      evaluate_every=500,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=1000),
    ),
  )


PRESETS = {"tiny": tiny}
