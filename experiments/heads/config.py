"""Config and preset of the heads experiment."""

import dataclasses

from attnjax.config import setting
from attnjax.runs import FitConfig, TrainConfig
from attnjax.training import CheckpointConfig, OptimizerConfig

__all__ = ["PRESETS", "HeadsConfig"]


@dataclasses.dataclass(frozen=True)
class HeadsConfig(FitConfig):
  """Sizes of scenes and layers beside the configs of training."""

  items: int = setting(
    8, "things in a scene, S; each has a place and a colour", at_least=1
  )
  values: int = setting(16, "values that a thing may carry", at_least=1)
  width: int = setting(64, "model width M, features", at_least=1)
  head_width: int = setting(
    16, "width D of one of two heads, features", at_least=1
  )
  batch_size: int = setting(128, "rows in a batch, B", at_least=1)
  heldout: int = setting(2048, "rows of the evaluation", at_least=1)
  seeds: int = setting(3, "repetitions with other draws", at_least=1)
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()

  def __post_init__(self):
    super().__post_init__()
    if self.heldout % self.batch_size:
      raise ValueError(
        f"batch_size={self.batch_size} must divide heldout={self.heldout}"
      )


def tiny() -> HeadsConfig:
  """Three kinds of layer, three seeds, two minutes on two cores."""
  return HeadsConfig(
    # Warms up for 50 of 2,000 steps.
    optimizer=OptimizerConfig(
      peak_learning_rate=3e-3, warmup=0.025, weight_decay=0.0
    ),
    train=TrainConfig(
      steps=2000,
      evaluate_every=250,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=1000),
    ),
  )


PRESETS = {"tiny": tiny}
