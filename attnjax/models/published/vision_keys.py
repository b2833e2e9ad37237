"""Keys of a published config.json that say images, patches and classes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from attnjax.models.published.keys import Keys
from attnjax.models.vit import ViTConfig

__all__ = ["ImageSize", "Labels", "MlpRatio", "PatchSize"]

_CLASSIFIER = "ForImageClassification"


def _pair(keys: Keys, name: str) -> tuple[int, int]:
  """A size that is one number or two."""
  size = keys.need(name)
  size = [size, size] if isinstance(size, int) else list(size)
  if len(size) != 2:
    raise ValueError(
      f"config.json: {name} must be one number or two, got {size}"
    )
  return size[0], size[1]


@dataclasses.dataclass(frozen=True)
class ImageSize:
  """Sides of an image, in pixels.

  Args:
    square: whether only equal ones are honoured, as where positions are
      resampled: the library takes every table of positions for a square.
  """

  square: bool = False
  key: str = "image_size"

  def read(self, keys: Keys) -> dict[str, Any]:
    """Height and breadth."""
    height, breadth = _pair(keys, self.key)
    if self.square and height != breadth:
      raise ValueError(
        f"config.json: {self.key}={[height, breadth]} is not honoured for"
        f" {keys.model_type}; expected a square"
      )
    return {"height": height, "breadth": breadth}

  def write(self, config: ViTConfig) -> dict[str, Any]:
    """One number for a square."""
    square = config.height == config.breadth
    sides = [config.height, config.breadth]
    return {self.key: config.height if square else sides}


@dataclasses.dataclass(frozen=True)
class PatchSize:
  """The side of a patch, in pixels; only squares are honoured."""

  key: str = "patch_size"

  def read(self, keys: Keys) -> dict[str, Any]:
    """The side."""
    sides = _pair(keys, self.key)
    if sides[0] != sides[1]:
      raise ValueError(
        f"config.json: {self.key}={list(sides)} is not honoured for"
        f" {keys.model_type}; expected a square"
      )
    return {"patch": sides[0]}

  def write(self, config: ViTConfig) -> dict[str, Any]:
    """The side."""
    return {self.key: config.patch}


@dataclasses.dataclass(frozen=True)
class MlpRatio:
  """A plain feed-forward layer, or one with gates of two thirds its width.

  Args:
    activations: published names and ours, of the plain one.
  """

  activations: tuple[tuple[str, str], ...]

  def read(self, keys: Keys) -> dict[str, Any]:
    """The activation and the features between the maps."""
    hidden = int(keys.need("hidden_size") * keys.get("mlp_ratio", 4))
    name, known = keys.get("hidden_act", "gelu"), dict(self.activations)
    if keys.get("use_swiglu_ffn", False):
      return {"hidden": _gated(hidden), "activation": "swiglu"}
    if name not in known:
      raise ValueError(
        f"config.json: hidden_act must be one of {[*known]}, got {name!r}"
      )
    return {"hidden": hidden, "activation": known[name]}

  def write(self, config: ViTConfig) -> dict[str, Any]:
    """A whole ratio that gives the features: the library asks for one."""
    width, gated = config.width, config.activation == "swiglu"
    shrunk = _gated if gated else lambda hidden: hidden
    # MlpRatio have two thirds of the features, or fewer than 8 more.
    most = 2 * config.hidden // width + 1
    ratios = [
      n for n in range(1, most + 1) if shrunk(n * width) == config.hidden
    ]
    found: dict[str, Any] = {"mlp_ratio": ratios[0]} if ratios else {}
    theirs = [a for a, ours in self.activations if ours == config.activation]
    if gated:
      found["use_swiglu_ffn"] = True
    elif theirs:
      found["hidden_act"] = theirs[0]
    return found


def _gated(hidden: int) -> int:
  """Features of a layer with gates, a multiple of 8, as the library has it."""
  return (int(hidden * 2 / 3) + 7) // 8 * 8


@dataclasses.dataclass(frozen=True)
class Labels:
  """Classes of images, of a model that has a readout by its class.

  Args:
    prefix: of the names of the classes of the library: with a readout, and
      the model alone.
    pool: what is read out.
  """

  prefix: str
  pool: str

  def read(self, keys: Keys) -> dict[str, Any]:
    """What is read out: nothing, of the model alone."""
    return {"pool": self.pool if self._reads_out(keys.values) else "none"}

  def write(self, config: ViTConfig) -> dict[str, Any]:
    """Nothing: the class says it, see `say`."""
    del config
    return {}

  def count(self, keys: Keys) -> int:
    """How many classes there are; 0 of the model alone."""
    if not self._reads_out(keys.values):
      return 0
    # Two is what the library takes, and does not write.
    count = len(keys.get("id2label", {})) or keys.get("num_labels", 2)
    if count < 1:
      raise ValueError(
        "config.json: num_labels must be at least 1 for a model that reads"
        f" classes out, got {count}"
      )
    return count

  def say(self, count: int) -> dict[str, Any]:
    """The class, and names of labels."""
    if not count:
      return {"architectures": [f"{self.prefix}Model"]}
    names = {str(i): f"LABEL_{i}" for i in range(count)}
    return {
      "architectures": [self.prefix + _CLASSIFIER],
      "id2label": names,
      "label2id": {name: int(i) for i, name in names.items()},
    }

  def _reads_out(self, values: Mapping[str, Any]) -> bool:
    """Whether the class of the model has a readout."""
    names = values.get("architectures") or ()
    return any(name.endswith(_CLASSIFIER) for name in names)
