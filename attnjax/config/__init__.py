"""Configs: frozen dataclasses, one absl flag a leaf, and an entry point."""

from attnjax.config.checks import check, check_each_once
from attnjax.config.entry import run
from attnjax.config.flags import ConfigFlags, define_flags
from attnjax.config.leaves import Config, Leaf, leaves, replace_leaves, setting
from attnjax.config.paths import check_local
from attnjax.config.ranges import Range
from attnjax.config.streams import Unread
from attnjax.config.text import decisive, describe, from_dict, to_dict, to_json
from attnjax.moved import forward_names

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
]


__getattr__ = forward_names(__name__)
