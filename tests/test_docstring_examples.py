"""The examples in the docstrings of experiments, launchers and the site hold.

Those of the library are collected by pytest itself, which would import every
module of experiments too, and so the libraries of their peers.
"""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def shown():
  """The modules that show something."""
  for room in ("docs", "experiments", "launch"):
    for path in sorted((ROOT / room).rglob("*.py")):
      if ">>> " in path.read_text(encoding="utf-8"):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("name", list(shown()))
def test_examples_hold(name):
  found = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
  assert found.attempted
  assert not found.failed
