"""`ImageProcessor`: what a published vision model does to an image first."""

import dataclasses
from pathlib import Path

import numpy as np

from attnjax.extras import needs_extra
from attnjax.models.published.preprocessor_file import (
  check_options,
  read_options,
  write_options,
)

__all__ = ["ImageProcessor"]


@dataclasses.dataclass(frozen=True)
class ImageProcessor:
  """An image as a published vision model wants it.

      x = (scale · middle(resized(image)) - mean) / std,  of each channel

  Args:
    resize: height and breadth of the image, pixels, or one number: those of
      its shorter side, where the other follows; None leaves it.
    crop: height and breadth of the middle that is kept; None keeps all.
    filter: of resizing, by Pillow's number: 2 is bilinear, 3 bicubic.
    scale: of the values, 0 to 255.
    mean: of a channel each; empty is 0.
    std: of a channel each; empty is 1.

  >>> import numpy as np
  >>> half = ImageProcessor(scale=1 / 255, mean=(0.5,), std=(0.5,))
  >>> half(np.array([[[0], [255]]], np.uint8))[0, :, 0].tolist()
  [-1.0, 1.0]
  """

  resize: tuple[int, int] | int | None = None
  crop: tuple[int, int] | None = None
  filter: int = 2
  scale: float = 1.0
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()

  def __post_init__(self):
    check_options(vars(self), "ImageProcessor")

  @classmethod
  def read(cls, folder: Path) -> "ImageProcessor | None":
    """That of a directory; None where it has no `preprocessor_config.json`.

    Raises:
      ValueError: an option is not honoured, the file is broken, a field of it
        is of another kind, or it is of a class of processors whose steps are
        not known.
    """
    options = read_options(folder)
    return None if options is None else cls(**options)

  def write(self, folder: Path) -> None:
    """Writes `preprocessor_config.json`, as the library names it."""
    write_options(folder, **vars(self))

  def __call__(self, image: np.ndarray) -> np.ndarray:
    """One image as the model reads it, float32 ``Y X C``.

    Args:
      image: uint8 ``Y X C``: rows of pixels, pixels of a row, channels.

    Raises:
      ValueError: this is no such image, has other channels than the mean, or
        is smaller than what is to be kept.
      ImportError: Pillow is missing: `pip install 'attnjax[published]'`.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.dtype != np.uint8 or not image.size:
      raise ValueError(
        "image must be uint8 with rows, pixels and channels, one at least, got"
        f" {image.dtype} of shape {list(image.shape)}; an image without colour"
        " has one channel"
      )
    x = self._cut(self._resized(image)).astype(np.float32)
    x = x * np.float32(self.scale)
    channels = image.shape[-1]
    for name, numbers in (("mean", self.mean), ("std", self.std)):
      # Several numbers would make as many channels of one.
      if numbers and len(numbers) not in (1, channels):
        raise ValueError(
          f"image must have the {len(numbers)} channels of {name}, got"
          f" {channels}; convert it first"
        )
    if self.mean:
      x = x - np.asarray(self.mean, np.float32)
    return x / np.asarray(self.std, np.float32) if self.std else x

  def _resized(self, image: np.ndarray) -> np.ndarray:
    """The image at its new size, by Pillow."""
    height, breadth = image.shape[:2]
    size = self.resize
    if isinstance(size, int):
      short = min(height, breadth)
      # Rounded down, as the library does.
      size = int(size * height / short), int(size * breadth / short)
    if size is None or size == (height, breadth):
      return image
    with needs_extra("published", "images are resized by Pillow"):
      from PIL import Image

    # Channel by channel, however many there are.
    resized = [
      np.asarray(
        Image.fromarray(np.ascontiguousarray(image[..., i])).resize(
          size[::-1], resample=Image.Resampling(self.filter)
        )
      )
      for i in range(image.shape[-1])
    ]
    return np.stack(resized, axis=-1)

  def _cut(self, image: np.ndarray) -> np.ndarray:
    """The middle of an image."""
    if self.crop is None:
      return image
    sides = image.shape[:2]
    if any(n > side for n, side in zip(self.crop, sides, strict=True)):
      raise ValueError(
        f"image must be at least {list(self.crop)} pixels where its middle is"
        f" cut out, got {list(sides)}"
      )
    top, left = ((n - c) // 2 for n, c in zip(sides, self.crop, strict=True))
    return image[top : top + self.crop[0], left : left + self.crop[1]]
