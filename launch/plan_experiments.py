"""Parses `--experiment` of a command line, and imports its presets."""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from launch.plan_subjects import EXPERIMENTS

__all__ = ["experiment_of", "presets_of"]


def experiment_of(arguments: Sequence[str]) -> str:
  """Reads `--experiment` from a command line before flags are defined.

  Args:
    arguments: the command line, program name first.

  Raises:
    SystemExit: there is no such experiment; lists the known ones.
  """
  name = ""
  for place, argument in enumerate(arguments):
    flag, _, value = argument.lstrip("-").partition("=")
    if argument.startswith("-") and flag == "experiment":
      # The last of several counts, as for absl. `--experiment x` is two words.
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
  """Presets of an experiment: name -> function that makes the config."""
  module = importlib.import_module(f"experiments.{experiment}.config")
  return module.PRESETS
