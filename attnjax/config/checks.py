"""Checks of configs beyond their values: files, and lists without repeats."""

import dataclasses
from typing import Any

__all__ = ["check", "check_each_once"]


def check(config: Any) -> None:
  """Checks what a config needs of this machine, such as files that exist.

  Values were checked when the config was made. Here the method `check()` of
  every part that has one is called.

  Args:
    config: a frozen dataclass that may nest others.

  Raises:
    ValueError: names the dotted setting, and the remedy.

  >>> import dataclasses
  >>> @dataclasses.dataclass(frozen=True)
  ... class Text:
  ...   path: str
  ...   def check(self):
  ...     raise ValueError(f"path={self.path!r} must exist")
  >>> @dataclasses.dataclass(frozen=True)
  ... class Experiment:
  ...   data: Text
  >>> check(Experiment(Text("no/such/file")))
  Traceback (most recent call last):
  ValueError: data.path='no/such/file' must exist
  """
  _check_below(config, "")


def _check_below(config: Any, prefix: str) -> None:
  """Calls `check` of a config and of those inside it; errors have its path."""
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      _check_below(value, f"{prefix}{field.name}.")
  # After the parts: the most deeply nested setting is named first.
  if hasattr(config, "check"):
    try:
      config.check()
    except ValueError as error:
      raise ValueError(f"{prefix}{error}") from None


def check_each_once(config: Any, name: str) -> None:
  """Checks that a list of a config is not empty and repeats nothing.

  Args:
    config: has the field.
    name: of the field, a tuple.

  Raises:
    ValueError: names the field.

  >>> import types
  >>> check_each_once(types.SimpleNamespace(words=("a", "a")), "words")
  Traceback (most recent call last):
  ValueError: words: expected one or more, each once, got ('a', 'a')
  """
  values = getattr(config, name)
  if not values or len({*values}) < len(values):
    raise ValueError(f"{name}: expected one or more, each once, got {values}")


def __getattr__(name: str):
  """Names of earlier versions, with a `DeprecationWarning`."""
  # The import system asks every module for `__path__`.
  if name.startswith("__"):
    raise AttributeError(name)

  # Imported here, for this room needs nothing else of attnjax, and no JAX.
  from attnjax.moved import moved_name

  return moved_name(__name__, name)
