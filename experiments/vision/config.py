"""Config and presets of the vision experiment."""

import dataclasses

from attnjax.config import check_each_once, setting
from attnjax.models import ViTConfig
from attnjax.runs import FitConfig, TrainConfig
from attnjax.training import CheckpointConfig, OptimizerConfig

__all__ = ["PRESETS", "SIDES", "VARIANTS", "VisionConfig"]

SIDES = {"digits": 8, "mnist5k": 28, "fashion_mnist": 28}  # pixels of a side
BASELINES = ("convolution", "linear")
VARIANTS = ("attention", "alone", "uniform", "unplaced", *BASELINES)


@dataclasses.dataclass(frozen=True)
class VisionConfig(FitConfig):
  """Images and variants beside the configs of model and training."""

  data: str = setting("digits", "which images", choices=tuple(SIDES))
  variants: tuple[str, ...] = setting(
    VARIANTS, "what is trained; attention is always", choices=VARIANTS
  )
  examine: str = setting(
    "test",
    "images held out: those of the test, or the last tenth of those to train"
    " on, with which settings are chosen",
    choices=("test", "validation"),
  )
  seeds: int = setting(
    3, "repetitions with other parameters and batches", at_least=1
  )
  batch_size: int = setting(64, "images in a batch, B", at_least=1)
  exchanged: float = setting(
    0.25,
    "share of the patches exchanged where rollout is examined, 0 to 1",
    above=0,
    below=1,
  )
  convolution_learning_rate: float = setting(
    3e-3, "peak learning rate of the convolution, per step", above=0
  )
  linear_learning_rate: float = setting(
    1e-1, "peak learning rate of the linear map, per step", above=0
  )
  model: ViTConfig = ViTConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()

  def __post_init__(self):
    super().__post_init__()
    self._check_images()
    check_each_once(self, "variants")
    if "attention" not in self.variants:
      raise ValueError(
        "variants: expected 'attention', with which the others are compared,"
        f" among them, got {self.variants}"
      )

  def _check_images(self):
    """Checks that the model takes images of the size of the data set.

    Raises:
      ValueError: it takes another size.
    """
    side, model = SIDES[self.data], self.model
    if (model.height, model.breadth, model.channels) != (side, side, 1):
      raise ValueError(
        f"model: the images of data={self.data!r} have {side} x {side} pixels"
        f" of 1 channel, got height={model.height}, breadth={model.breadth},"
        f" channels={model.channels}; set the three to {side}, {side} and 1"
      )


def tiny() -> VisionConfig:
  """Real digits of 8 x 8, all variants, three seeds: minutes on two cores."""
  return VisionConfig(
    model=ViTConfig(
      height=8,
      breadth=8,
      patch=2,
      width=32,
      depth=3,
      heads=4,
      hidden=64,
      dropout=0.1,
    ),
    # Warms up for 50 of 800 steps.
    optimizer=OptimizerConfig(
      peak_learning_rate=3e-3, warmup=0.062, floor=0.02
    ),
    train=TrainConfig(
      steps=800,
      evaluate_every=200,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=800, keep_best=False),
    ),
  )


def base() -> VisionConfig:
  """Fashion-MNIST with both baselines: one seed, 1.5 epochs."""
  return VisionConfig(
    data="fashion_mnist",
    variants=("attention", *BASELINES),
    seeds=1,
    convolution_learning_rate=2e-3,
    linear_learning_rate=1e-2,
    model=ViTConfig(patch=4, width=48, depth=3, heads=4, hidden=96),
    # Warms up for 200 of 1,407 steps.
    optimizer=OptimizerConfig(
      peak_learning_rate=2e-3, warmup=0.142, floor=0.02
    ),
    train=TrainConfig(
      # 1.5 epochs of 60,000 images in batches of 64; evaluated every half.
      steps=1407,
      evaluate_every=469,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=469, keep_best=False),
    ),
  )


PRESETS = {"tiny": tiny, "base": base}
