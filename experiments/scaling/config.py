"""Config and presets of the scaling experiment."""

import dataclasses

from attnjax.config import Config, check_each_once, setting
from attnjax.data import TextConfig
from attnjax.models import DecoderConfig
from attnjax.runs import TrainConfig
from attnjax.training import CheckpointConfig, OptimizerConfig

__all__ = ["PRESETS", "LawConfig", "PodConfig", "ScalingConfig"]


@dataclasses.dataclass(frozen=True)
class LawConfig(Config):
  """How the law is fitted, and its bootstrap intervals."""

  resamples: int = setting(
    200,
    "times that the law is fitted to runs drawn again, with replacement",
    at_least=2,
  )
  coverage: float = setting(
    0.95,
    "share of those fits that an interval holds, in (0, 1)",
    above=0,
    below=1,
  )
  seed: int = setting(0, "of the draws", at_least=0, below=2**32)


@dataclasses.dataclass(frozen=True)
class PodConfig(Config):
  """A machine to forecast for, and the compute to spend there."""

  topology: str | None = setting(
    None,
    "to compile the step for, such as v5e:4x4, with attnjax[tpu] installed and"
    " JAX_PLATFORMS=cpu set; none: no forecast",
  )
  flops: float = setting(
    1e18, "compute to spend on one model, model FLOPs", at_least=1
  )
  head_width: int = setting(
    64,
    "width D of a head there, features; the width M is a multiple of it",
    at_least=1,
  )
  batch_size: int = setting(
    1024, "rows in a batch there, on all devices", at_least=1
  )
  microbatches: int = setting(
    4, "parts of a batch run one after the other there", at_least=1
  )
  width: int | None = setting(
    None, "width M there, features; none: what the law recommends", at_least=1
  )

  def __post_init__(self):
    super().__post_init__()
    if self.width is not None and self.width % self.head_width:
      raise ValueError(
        f"pod.width: expected a multiple of pod.head_width={self.head_width},"
        f" got {self.width}"
      )


@dataclasses.dataclass(frozen=True)
class ScalingConfig(Config):
  """Sizes and lengths of the sweep, its training, the law and the pod."""

  widths: tuple[int, ...] = setting(
    (16, 32, 48, 64, 96, 128),
    "model widths M, features; each is a size",
    at_least=2,
  )
  steps: tuple[int, ...] = setting(
    (400, 1100, 3000),
    "lengths of a run, optimizer steps; every size is trained for each, from"
    " its own beginning to the end of its own schedule",
    at_least=2,
  )
  seeds: int = setting(3, "repetitions with other draws", at_least=1)
  head_width: int = setting(
    16,
    "width D of a head, features; a model has M // D heads, 1 at least",
    at_least=1,
  )
  aspect: int = setting(
    32,
    "features of the width to a block; a model has M // this, 2 at least",
    at_least=1,
  )
  warmup: float = setting(
    0.1, "share of a run that warms up, in [0, 1)", at_least=0, below=1
  )
  rate_width: int = setting(
    128,
    "width M at which the learning rate is optimizer.peak_learning_rate; at"
    " others it is as 1 / sqrt(M)",
    at_least=1,
  )
  heldout_batches: int = setting(
    128,
    "held-out batches that count, spread evenly over all that there are",
    at_least=1,
  )
  train_more: bool = setting(
    True, "train what is not trained yet; else tell of what there is"
  )
  data: TextConfig = TextConfig(corpus="python")
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()
  law: LawConfig = LawConfig()
  pod: PodConfig = PodConfig()

  def __post_init__(self):
    super().__post_init__()
    check_each_once(self, "widths")
    check_each_once(self, "steps")
    for name in ("widths", "steps"):
      if min(getattr(self, name), default=0) < 2:
        raise ValueError(
          f"{name}: expected numbers >= 2, got {getattr(self, name)}"
        )

    # Each run has a length of its own, and a share of it to warm up in.
    for name, usual, instead in (
      ("train.steps", TrainConfig().steps, "steps"),
      ("optimizer.warmup_steps", OptimizerConfig().warmup_steps, "warmup"),
      ("optimizer.warmup", OptimizerConfig().warmup, "warmup"),
    ):
      group, leaf = name.split(".")
      if getattr(getattr(self, group), leaf) != usual:
        raise ValueError(f"{name}: has no say here; give {instead} instead")

    rows, parts = self.data.batch_size, self.train.microbatches
    if rows % parts:
      raise ValueError(
        f"train.microbatches must divide data.batch_size={rows}, got {parts}"
      )
    if self.data.tokenizer != "bytes":
      raise ValueError(
        "data.tokenizer must be bytes, so that losses are bits per byte and"
        f" tokens are bytes, got {self.data.tokenizer}"
      )

  def model(self, width: int, head_width: int | None = None) -> DecoderConfig:
    """The decoder of a width: depth, heads and hidden follow from it.

    Args:
      width: M.
      head_width: D; None is that of the config.

    >>> sizes = ScalingConfig().model(96)
    >>> sizes.depth, sizes.heads, sizes.hidden
    (3, 6, 384)
    """
    head_width = self.head_width if head_width is None else head_width
    depth = max(width // self.aspect, 2)

    return DecoderConfig(
      width=width,
      depth=depth,
      heads=max(width // head_width, 1),
      hidden=4 * width,
      activation="squared_relu",
      unroll=min(depth, 4),
    )


def tiny() -> ScalingConfig:
  """Six sizes and three lengths, 25 minutes of one core a seed."""
  return ScalingConfig(
    data=TextConfig(
      corpus="python", length=128, batch_size=8, heldout_fraction=0.03
    ),
    optimizer=OptimizerConfig(peak_learning_rate=3.5e-3, floor=0.01),
    train=TrainConfig(
      # Only the last loss counts: it is the one that the law is fitted to.
      evaluate_every=0,
      log_every=50,
      checkpoint=CheckpointConfig(
        every_steps=400, keep_last=1, keep_best=False
      ),
    ),
  )


def base() -> ScalingConfig:
  """Seven sizes to 50 million parameters, for an accelerator; not run by us.

  The longest runs read 10.5 of the 11.7 million bytes once: longer ones want a
  larger text, `--config.data.path`.
  """
  return ScalingConfig(
    widths=(64, 96, 128, 192, 256, 384, 512),
    # 2,560 steps of 16 rows of 256 bytes are 10.5 million.
    steps=(320, 900, 2560),
    head_width=32,
    data=TextConfig(
      corpus="python", length=256, batch_size=16, heldout_fraction=0.03
    ),
    optimizer=OptimizerConfig(peak_learning_rate=3.5e-3, floor=0.01),
    train=TrainConfig(
      evaluate_every=0,
      log_every=50,
      compute_dtype="bfloat16",
      checkpoint=CheckpointConfig(
        every_steps=1000, keep_last=1, keep_best=False
      ),
    ),
  )


PRESETS = {"tiny": tiny, "base": base}
