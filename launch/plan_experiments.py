"""Which experiment a command line names, and the presets it has."""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from launch.plan_subjects import EXPERIMENTS

__all__ = ["chosen", "presets_of"]


def chosen(arguments: Sequence[str]) -> str:
  """The experiment of a command line, read before its flags can be defined.

  Args:
    arguments: the command line, program name first.

  Raises:
    SystemExit: there is no such experiment; says which there are.
  """
  name = ""
  for place, argument in enumerate(arguments):
    flag, _, value = argument.lstrip("-").partition("=")
    if argument.startswith("-") and flag == "experiment":
      name = value or "".join(arguments[place + 1 : place + 2])
  if name not in EXPERIMENTS:
    close = difflib.get_close_matches(name, EXPERIMENTS, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise SystemExit(
      f"error: --experiment={name}: expected one of {', '.join(EXPERIMENTS)},"
      f" whose step can be planned.{hint}"
    )
  return name


def presets_of(experiment: str) -> Mapping[str, Any]:
  """Name -> a function that makes the config, from the experiment itself."""
  module = importlib.import_module(f"experiments.{experiment}.config")
  return module.PRESETS
