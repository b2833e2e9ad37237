"""Frozen dataclasses of hyper-parameters, and the paths of their leaves.

Each field is either a leaf made by `setting` (an int, a float, a bool, a str,
one of them `| None`, or `tuple[int, ...]` and the like) or another config. A
leaf is named by its dotted path, `model.depth`.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

ConfigT = TypeVar("ConfigT")
_KINDS = (bool, int, float, str)


def setting(
  default: Any,
  help: str,
  *,
  choices: tuple[Any, ...] | None = None,
  path: bool = False,
) -> Any:
  """A leaf of a config: its default and what it means, with its unit.

  Args:
    default: the value where nobody says otherwise.
    help: meaning and unit, one line, shown by `--helpfull`.
    choices: the only values allowed; None allows every value of the type.
    path: whether the text names a file, a directory or a glob, seen from the
      working directory: whoever runs the program from another one has to say
      where it is, and on another machine it is not there.

  Returns:
    A `dataclasses.field` that carries the rest as metadata.

  >>> @dataclasses.dataclass(frozen=True)
  ... class DecoderConfig:
  ...   width: int = setting(256, "model width M, features")
  >>> DecoderConfig().width
  256
  """
  metadata = {"help": help, "choices": choices, "path": path}
  return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Leaf:
  """One hyper-parameter of one config.

  Args:
    name: dotted path from the root, `model.depth`.
    kind: int, float, bool, str or tuple.
    optional: whether None is a value too.
    help: meaning and unit.
    choices: the only values allowed, or items of a tuple; None allows every
      value of the kind.
    value: what the config holds.
    item: of a tuple, the kind of its items.
    path: whether its text names a file, a directory or a glob.

  >>> leaf = Leaf("depth", int, False, "blocks", None, 4)
  >>> leaf.checked(12)
  12
  """

  name: str
  kind: type
  optional: bool
  help: str
  choices: tuple[Any, ...] | None
  value: Any
  item: type | None = None
  path: bool = False

  def checked(self, value: Any) -> Any:
    """Returns the value, an int as a float where a float is meant.

    Raises:
      ValueError: the value has another type or is not one of the choices.
    """
    if value is None and self.optional:
      return None
    if self.item is None:
      return self._one(value, self.kind, " or None" if self.optional else "")
    if not isinstance(value, tuple | list):
      raise ValueError(f"{self.name}: expected a tuple, got {value!r}")
    return tuple(self._one(item, self.item, " in a tuple") for item in value)

  def _one(self, value: Any, kind: type, where: str) -> Any:
    """A value, or one item of a tuple."""
    if kind is float and type(value) is int:
      value = float(value)
    if type(value) is not kind:
      raise ValueError(
        f"{self.name}: expected {kind.__name__}{where}, got {value!r}"
      )
    if self.choices is not None and value not in self.choices:
      allowed = ", ".join(map(str, self.choices))
      raise ValueError(f"{self.name}: expected one of {allowed}, got {value!r}")
    return value


def leaves(config: Any) -> tuple[Leaf, ...]:
  """Lists every leaf of a config, depth first, in the order of declaration.

  Args:
    config: a frozen dataclass that may nest others.

  Raises:
    TypeError: a field is neither a `setting` of a supported type nor a config.

  >>> @dataclasses.dataclass(frozen=True)
  ... class Model:
  ...   depth: int = setting(4, "blocks")
  >>> @dataclasses.dataclass(frozen=True)
  ... class Config:
  ...   model: Model = Model()
  >>> [leaf.name for leaf in leaves(Config())]
  ['model.depth']
  """
  return tuple(_leaves(config, ""))


def _leaves(config: Any, prefix: str) -> list[Leaf]:
  """The leaves below one dataclass, with their dotted names."""
  hints = typing.get_type_hints(type(config))
  found: list[Leaf] = []
  for field in dataclasses.fields(config):
    name, value = prefix + field.name, getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      found += _leaves(value, name + ".")
      continue
    kind, optional, item = _kind(hints[field.name], name)
    if "help" not in field.metadata:
      raise TypeError(
        f"{name} says nothing of what it means: declare it with"
        " attnjax.config.setting(default, help)"
      )
    help, choices = field.metadata["help"], field.metadata.get("choices")
    path = field.metadata.get("path", False)
    if path and str not in (kind, item):
      raise TypeError(f"{name}: a path is a str, got {hints[field.name]}")
    found.append(Leaf(name, kind, optional, help, choices, value, item, path))
  return found


def _kind(hint: Any, name: str) -> tuple[type, bool, type | None]:
  """Of a type hint its kind, whether it admits None, and the kind of items."""
  if typing.get_origin(hint) is tuple:
    item, *rest = typing.get_args(hint)
    if item in _KINDS and rest == [...]:
      return tuple, False, item
  arguments = [hint]
  if typing.get_origin(hint) in (typing.Union, types.UnionType):
    arguments = list(typing.get_args(hint))
  kinds = [kind for kind in arguments if kind is not type(None)]
  if len(kinds) != 1 or kinds[0] not in _KINDS:
    raise TypeError(
      f"{name}: a leaf is an int, float, bool or str, one of them | None, or a"
      f" tuple[int, ...] and the like; got {hint}"
    )
  return kinds[0], len(arguments) == 2, None


def replace_leaves(config: ConfigT, values: Mapping[str, Any]) -> ConfigT:
  """A copy of the config with some leaves changed, all of them at once.

  Every dataclass is rebuilt once, so a check in `__post_init__` that ties two
  leaves never sees the one changed and the other not.

  Args:
    config: a frozen dataclass that may nest others.
    values: dotted name of a leaf -> its new value.

  Raises:
    ValueError: no leaf has that name, or the value does not fit it.

  >>> @dataclasses.dataclass(frozen=True)
  ... class Config:
  ...   depth: int = setting(4, "blocks")
  >>> replace_leaves(Config(), {"depth": 12})
  Config(depth=12)
  """
  known = {leaf.name: leaf for leaf in leaves(config)}
  for name in values:
    if name not in known:
      raise ValueError(
        f"no setting is named {name!r}.{did_you_mean(name, known)}"
      )
  checked = {name: known[name].checked(value) for name, value in values.items()}
  return _rebuild(config, checked, "") if checked else config


def _rebuild(config: Any, values: Mapping[str, Any], prefix: str) -> Any:
  """One dataclass with the leaves below it replaced."""
  changes = {}
  for field in dataclasses.fields(config):
    name, value = prefix + field.name, getattr(config, field.name)
    if name in values:
      changes[field.name] = values[name]
    elif dataclasses.is_dataclass(value):
      changes[field.name] = _rebuild(value, values, name + ".")
  return dataclasses.replace(config, **changes)


def did_you_mean(name: str, known: Mapping[str, Any]) -> str:
  """A sentence that names the closest known name, or all where none is close.

  >>> did_you_mean("bsae", {"tiny": 0, "base": 1})
  ' Did you mean base?'
  """
  close = difflib.get_close_matches(name, known, n=1)
  if close:
    return f" Did you mean {close[0]}?"
  return f" There are: {', '.join(known)}."
