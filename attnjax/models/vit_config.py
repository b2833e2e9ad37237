"""Sizes and choices of a vision transformer."""

import dataclasses

from attnjax.config import Config, setting

__all__ = ["ViTConfig"]

POSITIONS = ("learned", "sinusoidal", "none")
POOLS = ("token", "mean")


@dataclasses.dataclass(frozen=True)
class ViTConfig(Config):
  """Sizes and choices of a `ViT`."""

  height: int = setting(28, "of an image, pixels", at_least=1)
  breadth: int = setting(
    28, "of an image, pixels from left to right", at_least=1
  )
  channels: int = setting(1, "of a pixel: 1 is grey, 3 is colour", at_least=1)
  patch: int = setting(
    4, "side of a patch, pixels; divides both sides", at_least=1
  )
  width: int = setting(64, "model width M, features", at_least=1)
  depth: int = setting(4, "transformer blocks L", at_least=1)
  heads: int = setting(4, "heads H of a block; divide the width", at_least=1)
  hidden: int = setting(
    128, "features F between the feed-forward maps", at_least=1
  )
  activation: str = setting(
    "gelu",
    "feed-forward nonlinearity",
    choices=("gelu", "relu", "squared_relu", "swiglu"),
  )
  norm: str = setting("layer", "normalisation", choices=("rms", "layer"))
  use_bias: bool = setting(True, "biases in every linear map and layer norm")
  positions: str = setting(
    "learned", "how the model knows where a patch is", choices=POSITIONS
  )
  pool: str = setting(
    "token",
    "what is read out: a class token of its own, or the mean of the patches",
    choices=POOLS,
  )
  dropout: float = setting(
    0.0,
    "share of the features dropped in training, in [0, 1)",
    at_least=0,
    below=1,
  )
  unroll: int = setting(
    1,
    "blocks in one turn of the scan; more runs faster, compiles slower",
    at_least=1,
  )

  @property
  def grid(self) -> tuple[int, int]:
    """Patches from top to bottom, and from left to right."""
    return self.height // self.patch, self.breadth // self.patch

  @property
  def tokens(self) -> int:
    """T, patches and the class token where there is one."""
    rows, columns = self.grid
    return rows * columns + (self.pool == "token")

  def __post_init__(self):
    super().__post_init__()
    if self.height % self.patch or self.breadth % self.patch:
      raise ValueError(
        f"model: patch={self.patch} must divide the image of {self.height} x"
        f" {self.breadth} pixels; choose another patch, or pad the images"
      )
    if self.width % self.heads:
      raise ValueError(
        f"model: heads={self.heads} must divide width={self.width}; choose"
        " another number of heads"
      )
    if self.positions == "sinusoidal" and self.width % 4:
      raise ValueError(
        "model: sinusoidal positions have pairs of features for either side,"
        f" so the width must be a multiple of 4, got {self.width}"
      )
