"""`ImageProcessor`: what a published vision model does to an image first."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attnjax.extras import needs_extra
from attnjax.models.published.read_config import read_json

__all__ = ["ImageProcessor"]

_FILE = "preprocessor_config.json"
_BILINEAR, _BICUBIC = 2, 3  # as Pillow and published files number the filters
# What classes of the library do where a file leaves it out.
_ALWAYS = ("do_resize", "do_rescale", "do_normalize")
_VIT: Mapping[str, Any] = dict.fromkeys(_ALWAYS, True) | {
  "size": 224,
  "resample": _BILINEAR,
  "rescale_factor": 1 / 255,
  "image_mean": (0.5, 0.5, 0.5),
  "image_std": (0.5, 0.5, 0.5),
}
_BIT: Mapping[str, Any] = dict(_VIT) | {
  "size": {"shortest_edge": 224},
  "default_to_square": False,
  "resample": _BICUBIC,
  "do_center_crop": True,
  "crop_size": 224,
  "image_mean": (0.48145466, 0.4578275, 0.40821073),
  "image_std": (0.26862954, 0.26130258, 0.27577711),
}
# Of other classes a file does not say all that they do.
_CLASSES = {"ViT": _VIT, "Bit": _BIT, "CLIP": _BIT}
_OF_MODELS = {"vit": "ViT", "dinov2": "Bit"}
# Of which every other value is refused.
_NAMES = (
  *("image_processor_type", "feature_extractor_type", "processor_class"),
  *("do_resize", "size", "resample", "do_center_crop", "crop_size"),
  *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
  # Of the form in which images are given or come out.
  *("data_format", "input_data_format", "default_to_square", "do_convert_rgb"),
  *("return_tensors", "device", "disable_grouping"),
)


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
  filter: int = _BILINEAR
  scale: float = 1.0
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()

  @classmethod
  def read(cls, folder: Path) -> "ImageProcessor | None":
    """That of a directory; None where it has no `preprocessor_config.json`.

    Raises:
      ValueError: an option is not honoured, the file is broken, or it is of
        a class of processors whose steps are not known.
    """
    if not (folder / _FILE).is_file():
      return None
    given = read_json(folder / _FILE)
    # A null is said, and no default takes its place.
    values = {**_CLASSES[_class(given, folder)], **given}
    values = {k: v for k, v in values.items() if v is not None}
    for name, value in values.items():
      if name not in _NAMES and value is not False:
        raise ValueError(
          f"{_FILE}: {name}={value!r} is no option that is honoured"
        )

    on = lambda name: bool(values.get(name))
    normal = on("do_normalize")
    needed = {"resample": on("do_resize"), "rescale_factor": on("do_rescale")}
    needed |= dict.fromkeys(("image_mean", "image_std"), normal)
    for name in [name for name, used in needed.items() if used]:
      if name not in values:
        raise ValueError(f"{_FILE}: {name} must be given, got null")

    size, crop = (_size(values, name) for name in ("size", "crop_size"))
    if on("do_center_crop") and not isinstance(crop, tuple):
      raise ValueError(
        f"{_FILE}: crop_size must have height and width, got"
        f" {values.get('crop_size')}"
      )
    return cls(
      resize=size if on("do_resize") else None,
      crop=crop if on("do_center_crop") else None,  # type: ignore[arg-type]
      filter=values.get("resample", _BILINEAR),
      scale=values["rescale_factor"] if on("do_rescale") else 1.0,
      mean=tuple(values["image_mean"]) if normal else (),
      std=tuple(values["image_std"]) if normal else (),
    )

  def write(self, folder: Path) -> None:
    """Writes `preprocessor_config.json`, as the library names it."""
    sides = lambda pair: dict(zip(("height", "width"), pair, strict=True))
    values: dict[str, Any] = {
      # One that knows every step.
      "image_processor_type": "BitImageProcessor",
      "do_convert_rgb": False,
      "do_resize": self.resize is not None,
      "resample": self.filter,
      "do_center_crop": self.crop is not None,
      "do_rescale": self.scale != 1,
      "rescale_factor": self.scale,
      "do_normalize": bool(self.mean or self.std),
      "image_mean": self.mean or [0.0] * len(self.std),
      "image_std": self.std or [1.0] * len(self.mean),
    }
    if self.resize is not None:
      values["size"] = (
        {"shortest_edge": self.resize}
        if isinstance(self.resize, int)
        else sides(self.resize)
      )
    if self.crop is not None:
      values["crop_size"] = sides(self.crop)
    text = json.dumps(values, indent=2) + "\n"
    (folder / _FILE).write_text(text, encoding="utf-8")

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


def _class(values: Mapping[str, Any], folder: Path) -> str:
  """The class of the library that a file names, or that its model has.

  Raises:
    ValueError: it is none whose steps are known.
  """
  said = values.get("image_processor_type")
  said = said or values.get("feature_extractor_type")
  if said is None:
    kind = read_json(folder / "config.json").get("model_type")
    said = f"{_OF_MODELS.get(str(kind))}ImageProcessor"
  name = re.sub("(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", str(said))
  if name not in _CLASSES:
    known = [f"{name}ImageProcessor" for name in _CLASSES]
    raise ValueError(
      f"{_FILE}: image_processor_type must be one of {known}, got {said!r},"
      " which may do more than its file says"
    )
  return name


def _size(values: Mapping[str, Any], name: str) -> tuple[int, int] | int | None:
  """A size of a file: two sides, the shorter one, or None."""
  size = values.get(name)
  if size is None:
    return None
  if isinstance(size, int):
    square = name == "crop_size" or values.get("default_to_square", True)
    return (size, size) if square else size
  if isinstance(size, Mapping):
    size = {k: v for k, v in size.items() if v is not None}
    if {*size} == {"height", "width"}:
      return size["height"], size["width"]
    if {*size} == {"shortest_edge"}:
      return size["shortest_edge"]
  raise ValueError(
    f"{_FILE}: {name} must have height and width, or shortest_edge, got {size}"
  )
