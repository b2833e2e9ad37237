"""Config and preset of the why-scale experiment."""

import dataclasses

from attnjax.config import Config, setting
from attnjax.runs import FitConfig, TrainConfig
from attnjax.training import CheckpointConfig, OptimizerConfig

__all__ = ["PRESETS", "LookupConfig", "WhyScaleConfig"]


@dataclasses.dataclass(frozen=True)
class LookupConfig(Config):
  """Sizes of the lookup task, and the widths of its head."""

  widths: tuple[int, ...] = setting(
    (4, 16, 64, 256, 1024), "widths D trained", at_least=1
  )
  items: int = setting(16, "pairs S among which the asked one is", at_least=1)
  symbols: int = setting(
    64, "keys, and as many values, to draw pairs of", at_least=1
  )
  width: int = setting(64, "model width M, features", at_least=1)
  batch_size: int = setting(64, "rows in a batch, B", at_least=1)

  def __post_init__(self):
    super().__post_init__()
    if not 1 <= self.items <= self.symbols:
      raise ValueError(
        f"lookup.items: expected 1 to lookup.symbols={self.symbols}, for the"
        f" keys of a row differ, got {self.items}"
      )


@dataclasses.dataclass(frozen=True)
class WhyScaleConfig(FitConfig):
  """Random vectors to measure, beside the configs of task and training."""

  widths: tuple[int, ...] = setting(
    (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
    "widths D measured",
    at_least=1,
  )
  keys: int = setting(64, "keys S that a query chooses from", at_least=1)
  queries: int = setting(
    512, "random queries, for each width and seed", at_least=1
  )
  seeds: int = setting(3, "repetitions with other draws", at_least=1)
  lookup: LookupConfig = LookupConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()

  def __post_init__(self):
    super().__post_init__()
    if min(self.widths, default=0) < 1:
      raise ValueError(f"widths: expected numbers >= 1, got {self.widths}")


def tiny() -> WhyScaleConfig:
  """Every width measured, five of them trained, minutes on two cores."""
  return WhyScaleConfig(
    # Warms up for 50 of 800 steps.
    optimizer=OptimizerConfig(
      peak_learning_rate=1e-3, warmup=0.062, weight_decay=0.0
    ),
    train=TrainConfig(
      steps=800,
      evaluate_every=50,
      log_every=50,
      # Beyond the last step: saved at the end, and at the best evaluations.
      checkpoint=CheckpointConfig(every_steps=1000),
    ),
  )


PRESETS = {"tiny": tiny}
