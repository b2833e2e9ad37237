"""Configs and presets of the glimpse experiment."""

import dataclasses

from attnjax.config import Config, setting
from attnjax.runs import FitConfig, TrainConfig
from attnjax.training import CheckpointConfig, OptimizerConfig

__all__ = ["PRESETS", "GlimpseConfig", "MosaicConfig", "PlacesConfig"]


@dataclasses.dataclass(frozen=True)
class PlacesConfig(FitConfig):
  """Eight numbers, and a context that selects one of them."""

  rows: int = setting(10_000, "examples to train on", at_least=1)
  heldout: int = setting(10_000, "examples of the evaluation", at_least=1)
  batch_size: int = setting(32, "examples in a batch, B", at_least=1)
  stddev: float = setting(
    0.02, "of the initial embedding; 1 in the preset published", at_least=0
  )
  soft_only: bool = setting(
    False, "leave out the variants that look at one number alone"
  )
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()


@dataclasses.dataclass(frozen=True)
class MosaicConfig(FitConfig):
  """Mosaics of four real digits, and a context that asks about one."""

  rows: int = setting(20_000, "mosaics to train on", at_least=1)
  heldout: int = setting(4_000, "mosaics of the evaluation", at_least=1)
  # Of 1,797: 1,200 are left to train on.
  heldout_digits: int = setting(
    597,
    "digits, the last of the file, that no mosaic to train on has",
    at_least=1,
  )
  patch: int = setting(4, "side of a patch, pixels", choices=(1, 2, 4, 8))
  key_width: int = setting(
    16, "width D of query and keys, features", at_least=1
  )
  hidden: int = setting(
    128, "hidden units of the large network without a glimpse", at_least=1
  )
  batch_size: int = setting(64, "mosaics in a batch, B", at_least=1)
  plain_learning_rate: float = setting(
    3e-3,
    "peak learning rate of the networks without a glimpse, per step: of 1e-3,"
    " 3e-3 and 1e-2 the one that is best for them",
    above=0,
  )
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()


@dataclasses.dataclass(frozen=True)
class GlimpseConfig(Config):
  """Which tasks, how many seeds, and the config of each task."""

  tasks: str = setting(
    "both", "what is trained", choices=("both", "places", "mosaic")
  )
  seeds: int = setting(
    3, "repetitions with other draws and parameters", at_least=1
  )
  places: PlacesConfig = PlacesConfig()
  mosaic: MosaicConfig = MosaicConfig()


def tiny() -> GlimpseConfig:
  """Both tasks, every variant, three seeds: minutes on two cores."""
  return GlimpseConfig(
    places=PlacesConfig(
      optimizer=OptimizerConfig(
        peak_learning_rate=0.1,
        warmup_steps=0,
        floor=0.0,
        beta2=0.999,
        weight_decay=0.0,
        clip_norm=None,
      ),
      train=TrainConfig(
        steps=2000,
        evaluate_every=250,
        log_every=50,
        # Saved once, at the end: the last step is what is reported.
        checkpoint=CheckpointConfig(every_steps=2000, keep_best=False),
      ),
    ),
    mosaic=MosaicConfig(
      optimizer=OptimizerConfig(
        peak_learning_rate=1e-2,
        warmup=0.0125,
        floor=0.0,
        beta2=0.999,
        weight_decay=0.0,
      ),
      train=TrainConfig(
        steps=4000,
        evaluate_every=0,
        log_every=50,
        checkpoint=CheckpointConfig(every_steps=4000, keep_best=False),
      ),
    ),
  )


def published() -> GlimpseConfig:
  """Adam at 1e-3, one example at a time, four epochs, soft weights alone."""
  return GlimpseConfig(
    tasks="places",
    places=PlacesConfig(
      batch_size=1,
      stddev=1.0,
      soft_only=True,
      optimizer=OptimizerConfig(
        peak_learning_rate=1e-3,
        # A constant rate: no warm-up, and a floor as high as the peak.
        warmup_steps=0,
        floor=1.0,
        beta2=0.999,
        weight_decay=0.0,
        clip_norm=None,
      ),
      train=TrainConfig(
        # Four epochs of 10,000 rows, one row a step.
        steps=40_000,
        evaluate_every=10_000,
        log_every=100,
        checkpoint=CheckpointConfig(every_steps=10_000, keep_best=False),
      ),
    ),
  )


PRESETS = {"tiny": tiny, "published": published}
