"""Sizes and choices of a vision transformer."""

import dataclasses

from attnjax.config import setting
from attnjax.ops.drop import check_rate

__all__ = ["ViTConfig"]

POSITIONS = ("learned", "sinusoidal", "none")
POOLS = ("token", "mean")


@dataclasses.dataclass(frozen=True)
class ViTConfig:
  """Sizes and choices of a `ViT`."""

  height: int = setting(28, "of an image, pixels")
  breadth: int = setting(28, "of an image, pixels from left to right")
  channels: int = setting(1, "of a pixel: 1 is grey, 3 is colour")
  patch: int = setting(4, "side of a patch, pixels; divides both sides")
  width: int = setting(64, "model width M, features")
  depth: int = setting(4, "transformer blocks L")
  heads: int = setting(4, "heads H of a block; divide the width")
  hidden: int = setting(128, "features F between the feed-forward maps")
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
    0.0, "share of the features dropped in training, in [0, 1)"
  )
  unroll: int = setting(
    1, "blocks in one turn of the scan; more runs faster, compiles slower"
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
    sizes = ("height", "breadth", "channels", "patch", "width", "depth")
    for name in (*sizes, "heads", "hidden", "unroll"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"model: {name} must be at least 1, got {getattr(self, name)}"
        )
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
    for name, choices in (("positions", POSITIONS), ("pool", POOLS)):
      if getattr(self, name) not in choices:
        raise ValueError(
          f"model: {name} must be one of {choices}, got {getattr(self, name)!r}"
        )
    check_rate(self.dropout)
