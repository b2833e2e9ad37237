"""Reads and writes `preprocessor_config.json`, what is done to images first."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attnjax.models.published.json_fields import (
  expect,
  is_choice,
  is_count,
  is_number,
  is_token,
)
from attnjax.models.published.read_config import read_json

__all__ = ["FILE", "check_options", "read_options", "write_options"]

FILE = "preprocessor_config.json"
_BILINEAR, _BICUBIC = 2, 3  # as Pillow and published files number the filters
_FILTERS = tuple(range(6))  # that Pillow has
# Our options, and what the file calls them.
_FIELDS = {
  "resize": "size",
  "crop": "crop_size",
  "filter": "resample",
  "scale": "rescale_factor",
  "mean": "image_mean",
  "std": "image_std",
}
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


def check_options(
  options: Mapping[str, Any],
  whose: Path | str,
  names: Mapping[str, str] | None = None,
) -> None:
  """Raises ValueError for an option of an `ImageProcessor` that is none.

  Args:
    options: by name.
    whose: they are, for the error.
    names: of the options, for the error; None: their own.
  """
  side = "a number of pixels, 1 or more"
  pair = f"height and breadth, each {side}"
  kinds: Mapping[str, tuple[Callable, str]] = {
    "resize": (_is_size, f"{side}, or {pair}"),
    "crop": (_is_pair, pair),
    "filter": (_is_filter, f"one of {[*_FILTERS]}, as in Pillow"),
    "scale": (is_number, "a finite number"),
    "mean": (_are_numbers, "finite numbers, one a channel"),
    "std": (
      lambda x: _are_numbers(x) and min(x, default=1) > 0,
      "finite numbers above 0, one a channel",
    ),
  }
  for name, (holds, what) in kinds.items():
    # A step that is not taken.
    if options[name] is not None or name not in ("resize", "crop"):
      expect(whose, (names or {}).get(name, name), options[name], holds, what)


def read_options(folder: Path) -> dict[str, Any] | None:
  """Options of an `ImageProcessor`; None where there is no such file.

  Args:
    folder: has the file, and the `config.json` of its model.

  Raises:
    ValueError: an option is not honoured, a field is of another kind, or the
      file is of a class of processors whose steps are not known.
  """
  file = folder / FILE
  if not file.is_file():
    return None
  given = read_json(file)
  # A null is said, and no default takes its place.
  values = {**_CLASSES[_class(given, folder)], **given}
  values = {k: v for k, v in values.items() if v is not None}
  for name, value in values.items():
    if name not in _NAMES and value is not False:
      raise ValueError(
        f"{file}: {name}={value!r} is no option that is honoured"
      )

  steps = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")
  resized, cut, scaled, normal = (
    expect(file, name, values.get(name, False), is_choice, "true or false")
    for name in steps
  )
  needed = {"size": resized, "resample": resized, "crop_size": cut}
  needed |= {"rescale_factor": scaled}
  needed |= dict.fromkeys(("image_mean", "image_std"), normal)
  for name in [name for name, used in needed.items() if used]:
    if values.get(name) in (None, []):
      raise ValueError(
        f"{file}: {name} must be given, got {json.dumps(given.get(name))}"
      )

  size, crop = (_size(file, values, name) for name in ("size", "crop_size"))
  options = {
    "resize": size if resized else None,
    "crop": crop if cut else None,
    "filter": values.get("resample", _BILINEAR),
    "scale": values["rescale_factor"] if scaled else 1.0,
    "mean": _numbers(values["image_mean"]) if normal else (),
    "std": _numbers(values["image_std"]) if normal else (),
  }
  check_options(options, file, _FIELDS)
  return options


def write_options(
  folder: Path,
  *,
  resize: tuple[int, int] | int | None,
  crop: tuple[int, int] | None,
  filter: int,
  scale: float,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> None:
  """Writes the file from the options of an `ImageProcessor`."""
  sides = lambda pair: dict(zip(("height", "width"), pair, strict=True))
  values: dict[str, Any] = {
    # One that knows every step.
    "image_processor_type": "BitImageProcessor",
    "do_convert_rgb": False,
    "do_resize": resize is not None,
    "resample": filter,
    "do_center_crop": crop is not None,
    "do_rescale": scale != 1,
    "rescale_factor": float(scale),
    "do_normalize": bool(mean or std),
    "image_mean": [*map(float, mean)] or [0.0] * len(std),
    "image_std": [*map(float, std)] or [1.0] * len(mean),
  }
  if resize is not None:
    values["size"] = (
      {"shortest_edge": resize} if isinstance(resize, int) else sides(resize)
    )
  if crop is not None:
    values["crop_size"] = sides(crop)
  text = json.dumps(values, indent=2) + "\n"
  (folder / FILE).write_text(text, encoding="utf-8")


def _class(values: Mapping[str, Any], folder: Path) -> str:
  """The class of the library that a file names, or that its model has.

  Raises:
    ValueError: it is none whose steps are known.
  """
  said = values.get("image_processor_type")
  said = values.get("feature_extractor_type") if said is None else said
  if said is None:
    kind = read_json(folder / "config.json").get("model_type")
    said = f"{_OF_MODELS.get(str(kind))}ImageProcessor"
  name = re.sub("(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", str(said))
  if name not in _CLASSES:
    known = [f"{name}ImageProcessor" for name in _CLASSES]
    raise ValueError(
      f"{FILE}: image_processor_type must be one of {known}, got {said!r},"
      " which may do more than its file says"
    )
  return name


def _size(file: Path, values: Mapping[str, Any], name: str) -> Any:
  """A size of a file: two sides, the shorter one, or None."""
  size = values.get(name)
  if size is None:
    return None
  if isinstance(size, Mapping):
    given = {k: v for k, v in size.items() if v is not None}
    if {*given} == {"height", "width"}:
      return given["height"], given["width"]
    if {*given} == {"shortest_edge"}:
      return given["shortest_edge"]
  elif is_token(size):
    square = values.get("default_to_square", True)
    expect(file, "default_to_square", square, is_choice, "true or false")
    square = square or name == "crop_size"
    return (size, size) if square else size
  raise ValueError(
    f"{file}: {name} must have height and width, or shortest_edge, got {size!r}"
  )


def _numbers(value: Any) -> Any:
  """Numbers of a file as a tuple; of no list, what is there, to be refused."""
  return tuple(value) if isinstance(value, list) else value


def _is_pair(value: Any) -> bool:
  """Whether a value is two numbers of pixels."""
  pair = isinstance(value, tuple) and len(value) == 2
  return pair and all(map(is_count, value))


def _is_size(value: Any) -> bool:
  """Whether a value is a number of pixels, or two."""
  return is_count(value) or _is_pair(value)


def _is_filter(value: Any) -> bool:
  """Whether a value is one of Pillow's numbers of filters."""
  return is_token(value) and value in _FILTERS


def _are_numbers(value: Any) -> bool:
  """Whether a value is numbers."""
  return isinstance(value, tuple | list) and all(map(is_number, value))
