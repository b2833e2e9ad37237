"""Configs: frozen dataclasses, one absl flag a leaf, and an entry point."""

from attnjax.config.checks import check_at_least, check_each_once
from attnjax.config.entry import run
from attnjax.config.flags import ConfigFlags, define_flags
from attnjax.config.leaves import Leaf, leaves, replace_leaves, setting
from attnjax.config.text import describe, from_dict, to_dict, to_json

__all__ = [
  "ConfigFlags",
  "Leaf",
  "check_at_least",
  "check_each_once",
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
