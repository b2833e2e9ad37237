"""Conversion of configs to and from dicts, to JSON and to a listing."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from attnjax.config.leaves import leaves, replace_leaves

__all__ = [
  "decisive",
  "describe",
  "from_dict",
  "to_dict",
  "to_json",
]


ConfigT = TypeVar("ConfigT")


def to_dict(config: Any) -> dict[str, Any]:
  """The config as nested dicts of plain values.

  >>> import dataclasses
  >>> from attnjax.config import setting
  >>> @dataclasses.dataclass(frozen=True)
  ... class Config:
  ...   depth: int = setting(4, "blocks")
  >>> to_dict(Config())
  {'depth': 4}
  """
  return dataclasses.asdict(config)


def decisive(config: Any) -> dict[str, Any]:
  """`to_dict` without the leaves that no computed number depends on.

  Two configs that differ in those alone make the same run, see `setting`.

  Args:
    config: a frozen dataclass that may nest others.

  >>> import dataclasses
  >>> from attnjax.config import setting
  >>> @dataclasses.dataclass(frozen=True)
  ... class Config:
  ...   depth: int = setting(4, "blocks")
  ...   log_every: int = setting(10, "steps", decides=False)
  >>> decisive(Config())
  {'depth': 4}
  """
  return _nested({x.name: x.value for x in leaves(config) if x.decides})


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
  """One dict of dotted names as nested dicts."""
  nested: dict[str, Any] = {}
  for name, value in flat.items():
    *path, last = name.split(".")
    place = nested
    for part in path:
      place = place.setdefault(part, {})
    place[last] = value
  return nested


def from_dict(like: ConfigT, values: Mapping[str, Any]) -> ConfigT:
  """The config of the same classes as `like` that `to_dict` made `values` of.

  Args:
    like: any config of the class wanted, a preset for instance.
    values: nested dicts that name every leaf and nothing else.

  Raises:
    ValueError: a leaf is missing, unknown, or its value does not fit.

  >>> import dataclasses
  >>> from attnjax.config import setting
  >>> @dataclasses.dataclass(frozen=True)
  ... class Config:
  ...   depth: int = setting(4, "blocks")
  >>> from_dict(Config(), {"depth": 12})
  Config(depth=12)
  """
  flat = _flatten(values, "")
  # Every leaf has to be there, or a later default would be taken silently.
  missing = [leaf.name for leaf in leaves(like) if leaf.name not in flat]
  if missing:
    raise ValueError(f"values lack the settings {', '.join(missing)}")
  return replace_leaves(like, flat)


def _flatten(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
  """Nested dicts as one dict of dotted names."""
  flat: dict[str, Any] = {}
  for name, value in values.items():
    if isinstance(value, Mapping):
      flat |= _flatten(value, f"{prefix}{name}.")
    else:
      flat[prefix + name] = value
  return flat


def to_json(config: Any) -> str:
  """The config as indented JSON, to be read by people and by `from_dict`.

  >>> import dataclasses
  >>> from attnjax.config import setting
  >>> @dataclasses.dataclass(frozen=True)
  ... class Config:
  ...   depth: int = setting(4, "blocks")
  >>> print(to_json(Config()))
  {
    "depth": 4
  }
  """
  return json.dumps(to_dict(config), indent=2)


def describe(config: Any, *, baseline: Any = None) -> str:
  """A listing of the leaves, one a line, aligned.

  Args:
    config: a frozen dataclass that may nest others.
    baseline: the config before overrides, of the same class: a leaf that
      differs from it is marked with a star and says what it was. None marks
      nothing.

  >>> import dataclasses
  >>> from attnjax.config import setting
  >>> @dataclasses.dataclass(frozen=True)
  ... class Config:
  ...   depth: int = setting(4, "blocks")
  ...   width: int = setting(256, "features")
  >>> print(describe(Config(depth=12), baseline=Config()))
  * depth = 12   (was 4)
    width = 256
  """
  found = leaves(config)
  before = {leaf.name: leaf.value for leaf in leaves(baseline or config)}
  width = max((len(leaf.name) for leaf in found), default=0)
  lines = []
  for leaf in found:
    # Marked by value: a flag that repeats the default changes nothing.
    same = before[leaf.name] == leaf.value
    mark, was = (" ", "") if same else ("*", f"   (was {before[leaf.name]})")
    lines.append(f"{mark} {leaf.name:{width}} = {leaf.value}{was}")
  return "\n".join(lines)
