"""What the tests of experiments share."""

import runpy
import sys
from collections.abc import Mapping
from typing import NamedTuple

import pytest
from absl import flags


class Ended(NamedTuple):
  """How a program ended.

  Args:
    code: its exit code.
    out: what it printed.
    err: what it said on stderr.
  """

  code: int
  out: str
  err: str


@pytest.fixture
def typed(capsys, monkeypatch):
  """Runs `python -m experiments.<name>` in this process: its own `__main__`.

  It takes the name, the directory to write to and what follows: flags as a
  shell has them, or a mapping of leaves of the config.
  """

  def forget():
    """Takes away the flags of an experiment: the next one defines its own.

    Those of libraries stay, which define them once, when they are imported.
    """
    ours = ("preset", "workdir", "debug", "view", "profile")
    for name in list(flags.FLAGS):
      if name in ours or name.startswith("config."):
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()

  def run(experiment, workdir, *words):
    argv = [f"experiments.{experiment}", f"--workdir={workdir}"]
    for word in words:
      argv += leaf_flags(word) if isinstance(word, Mapping) else [word]
    monkeypatch.setattr(sys, "argv", argv)
    # Python warns of a program that somebody has imported as a module before.
    monkeypatch.delitem(
      sys.modules, f"experiments.{experiment}.__main__", raising=False
    )
    forget()
    try:
      runpy.run_module(f"experiments.{experiment}", run_name="__main__")
    except SystemExit as end:
      return Ended(end.code or 0, *capsys.readouterr())
    finally:
      forget()
    pytest.fail(f"experiments.{experiment} did not end its process")

  return run


def leaf_flags(leaves):
  """`--config.<leaf>=<value>` of each leaf, a tuple with commas between."""
  text = lambda x: ",".join(map(str, x)) if isinstance(x, tuple) else f"{x}"
  return [
    f"--config.{name}={'none' if value is None else text(value)}"
    for name, value in leaves.items()
  ]
