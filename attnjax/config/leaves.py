"""Settings of frozen dataclasses: types, ranges, choices and dotted paths.

Each field is either a leaf made by `setting` (an int, a float, a bool, a str,
one of them `| None`, or `tuple[int, ...]` and the like) or another config. A
leaf is named by its dotted path, `model.depth`.
"""

import dataclasses
import difflib
import functools
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from attnjax.config.ranges import Range

__all__ = [
  "Config",
  "Leaf",
  "did_you_mean",
  "leaves",
  "replace_leaves",
  "setting",
]


ConfigT = TypeVar("ConfigT")
# The types that a flag and JSON can both write.
_KINDS = (bool, int, float, str)
_NOUNS = {
  bool: "a boolean",
  int: "an integer",
  float: "a number",
  str: "a string",
}


def setting(
  default: Any,
  help: str,
  *,
  choices: tuple[Any, ...] | None = None,
  at_least: int | float | None = None,
  above: int | float | None = None,
  at_most: int | float | None = None,
  below: int | float | None = None,
  decides: bool = True,
  path: bool = False,
) -> Any:
  """Declares a leaf of a config: default, meaning and unit, allowed values.

  A class that inherits from `Config` checks its settings as it is made; flags
  and JSON check them with their dotted names. None, where the type has it, is
  in every range, and a range of a tuple is one of its items. A float is finite
  and an int has 64 bits, whatever the range.

  Args:
    default: the value where nobody says otherwise.
    help: meaning and unit, one line, shown by `--helpfull`.
    choices: the only values allowed; None allows every value of the type.
    at_least: the least value, itself allowed.
    above: the least value, itself not allowed.
    at_most: the largest value, itself allowed.
    below: the largest value, itself not allowed.
    decides: whether numbers that are computed depend on it; what does not, such
      as how often progress is shown, may change when a run goes on.
    path: whether the text names a file, a directory or a glob, seen from the
      working directory: whoever runs the program from another one has to say
      where it is, and on another machine it is not there.

  Returns:
    A `dataclasses.field` that carries all of it as metadata.

  >>> import dataclasses
  >>> @dataclasses.dataclass(frozen=True)
  ... class DecoderConfig(Config):
  ...   width: int = setting(256, "model width M, features", at_least=1)
  >>> DecoderConfig().width
  256
  >>> DecoderConfig(width=0)
  Traceback (most recent call last):
  ValueError: width must be at least 1, got 0
  """
  metadata = {
    "help": help,
    "choices": choices,
    "range": Range(at_least, above, at_most, below),
    "decides": decides,
    "path": path,
  }
  return dataclasses.field(default=default, metadata=metadata)


def with_default(config: type, name: str, default: Any) -> Any:
  """A setting of a config once more, for a subclass with another default.

  >>> import dataclasses
  >>> @dataclasses.dataclass(frozen=True)
  ... class Task(Config):
  ...   rows: int = setting(4, "rows of a batch", at_least=1)
  >>> @dataclasses.dataclass(frozen=True)
  ... class Large(Task):
  ...   rows: int = with_default(Task, "rows", 64)
  >>> Large().rows, [leaf.help for leaf in leaves(Large())]
  (64, ['rows of a batch'])
  """
  field = next(f for f in dataclasses.fields(config) if f.name == name)
  return dataclasses.field(default=default, metadata=field.metadata)


class Config:
  """Base class of configs: settings are checked when an instance is made.

  A config that ties settings to each other does so in a `__post_init__` that
  calls this one first.

  >>> import dataclasses
  >>> @dataclasses.dataclass(frozen=True)
  ... class Task(Config):
  ...   rows: int = setting(4, "rows of a batch", at_least=1)
  >>> Task(rows=0)
  Traceback (most recent call last):
  ValueError: rows must be at least 1, got 0
  """

  def __post_init__(self) -> None:
    """Checks each setting; an int where a float is meant becomes one.

    Raises:
      ValueError: a value has another type, or is out of its range.
    """
    for leaf in _own_leaves(self, ""):
      # The class is frozen for others. 1 and 1.0 are one value, and so they
      # have to be one text where a run says in JSON what it was made of.
      object.__setattr__(self, leaf.name, leaf.checked(leaf.value))


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
    range: the numbers allowed, or items of a tuple.
    decides: whether numbers that are computed depend on it.
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
  range: Range = Range()
  decides: bool = True
  path: bool = False

  def checked(self, value: Any) -> Any:
    """Checks a value and returns it; an int becomes a float where one is meant.

    Raises:
      ValueError: the value has another type, is not one of the choices, or is
        out of its range.
    """
    if value is None and self.optional:
      return None
    if self.item is None:
      return self._check_item(
        value, self.kind, " or None" if self.optional else ""
      )
    if not isinstance(value, tuple | list):
      raise ValueError(f"{self.name} must be a tuple, got {value!r}")
    return tuple(
      self._check_item(item, self.item, " in a tuple") for item in value
    )

  def _check_item(self, value: Any, kind: type, where: str) -> Any:
    """Checks type, choices and range of a value, or of one item of a tuple."""
    value = _as_python(value, kind)
    # Not isinstance, for True is an int to it.
    if type(value) is not kind:
      raise ValueError(
        f"{self.name} must be {_NOUNS[kind]}{where}, got {value!r}"
      )

    if self.choices is not None and value not in self.choices:
      allowed = ", ".join(map(str, self.choices))
      # A hint for a misspelt choice, such as `zigzg`.
      close = difflib.get_close_matches(str(value), map(str, self.choices), n=1)
      hint = f"; did you mean {close[0]}?" if close else ""
      raise ValueError(
        f"{self.name} must be one of {allowed}, got {value!r}{hint}"
      )

    refusal = None if kind in (bool, str) else self.range.refusal(value)
    if refusal is not None:
      raise ValueError(f"{self.name} {refusal}, got {value}")

    return value


def _as_python(value: Any, kind: type) -> Any:
  """NumPy numbers as Python's; an int as a float where one is meant."""
  # bool is a subclass of int: True must not pass for 1.
  if isinstance(value, bool):
    return value
  if kind is int and isinstance(value, numbers.Integral):
    return int(value)

  if kind is float and isinstance(value, numbers.Real):
    try:
      return float(value)
    except OverflowError:  # of an int that no float holds
      return value

  return value


def leaves(config: Any) -> tuple[Leaf, ...]:
  """Lists every leaf of a config, depth first, in the order of declaration.

  Args:
    config: a frozen dataclass that may nest others.

  Raises:
    TypeError: a field is neither a `setting` of a supported type nor a config.

  >>> import dataclasses
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
  found: list[Leaf] = []
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      found += _leaves(value, f"{prefix}{field.name}.")
    else:
      found.append(_leaf(config, field, prefix))
  return found


def _own_leaves(config: Any, prefix: str) -> list[Leaf]:
  """The settings of one dataclass, without those of configs inside it."""
  return [
    _leaf(config, field, prefix)
    for field in dataclasses.fields(config)
    # A nested config has checked its own settings already.
    if "help" in field.metadata
  ]


def _leaf(config: Any, field: dataclasses.Field, prefix: str) -> Leaf:
  """One leaf and its value."""
  name = prefix + field.name
  config_type: Any = type(config)
  hint = _hints(config_type)[field.name]
  kind, optional, item = _kind(hint, name)

  about = field.metadata
  if about.get("path") and str not in (kind, item):
    raise TypeError(f"{name}: a path is a str, got {hint}")

  if "help" not in about:
    raise TypeError(
      f"{name} says nothing of what it means: declare it with"
      " attnjax.config.setting(default, help)"
    )

  return Leaf(
    name,
    kind,
    optional,
    about["help"],
    about["choices"],
    getattr(config, field.name),
    item,
    about["range"],
    about["decides"],
    about["path"],
  )


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
  """Type hints of the fields of a class, cached."""
  return typing.get_type_hints(kind)


def _kind(hint: Any, name: str) -> tuple[type, bool, type | None]:
  """(kind, whether None is allowed, kind of a tuple's items) of a type hint."""
  if typing.get_origin(hint) is tuple:
    item, *rest = typing.get_args(hint)
    # Tuples of any length, `tuple[int, ...]`; others have no flag.
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
  """A copy of the config with some leaves replaced.

  Every dataclass is rebuilt once, so a check in `__post_init__` that ties two
  leaves never sees the one changed and the other not.

  Args:
    config: a frozen dataclass that may nest others.
    values: dotted name of a leaf -> its new value.

  Raises:
    ValueError: no leaf has that name, or the value does not fit it.

  >>> import dataclasses
  >>> @dataclasses.dataclass(frozen=True)
  ... class Config:
  ...   depth: int = setting(4, "blocks")
  >>> replace_leaves(Config(), {"depth": 12})
  Config(depth=12)
  """
  # Checked by the leaf first, whose errors have the dotted name; then by
  # `__post_init__`, which checks combinations.
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
