"""Configs: frozen dataclasses, one absl flag a leaf, and an entry point."""

from attnjax.config.checks import check, check_each_once
from attnjax.config.entry import run
from attnjax.config.flags import ConfigFlags, define_flags
from attnjax.config.leaves import (
  Config,
  Leaf,
  leaves,
  replace_leaves,
  setting,
  with_default,
)
from attnjax.config.paths import check_local
from attnjax.config.ranges import Range
from attnjax.config.streams import Unread
from attnjax.config.text import decisive, describe, from_dict, to_dict, to_json

__all__ = [
  "Config",
  "ConfigFlags",
  "Leaf",
  "Range",
  "Unread",
  "check",
  "check_each_once",
  "check_local",
  "decisive",
  "define_flags",
  "describe",
  "from_dict",
  "leaves",
  "replace_leaves",
  "run",
  "setting",
  "to_dict",
  "to_json",
  "with_default",
]


def __getattr__(name: str):
  """Names of earlier versions, with a `DeprecationWarning`."""
  # The import system asks every module for `__path__`.
  if name.startswith("__"):
    raise AttributeError(name)

  # Imported here, for this room needs nothing else of attnjax, and no JAX.
  from attnjax.moved import moved_name

  return moved_name(__name__, name)
