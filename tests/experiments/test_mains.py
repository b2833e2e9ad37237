"""What holds for the program of every experiment."""

import ast
import re
from pathlib import Path

import pytest

from experiments.heads import report
from tests.experiments import smallest

ROOT = Path(__file__).parents[2]
MAINS = sorted((ROOT / "experiments").glob("*/__main__.py"))
NAMES = [path.parent.name for path in MAINS]
WRITES = ("write_results", "write_csv", "write_tables", "print_table")


def called(node):
  """(line, name) of every call below a node, in the order of the lines."""
  found = [
    (part.lineno, getattr(part.func, "attr", getattr(part.func, "id", "")))
    for part in ast.walk(node)
    if isinstance(part, ast.Call)
  ]
  return sorted(found)


def functions(path):
  tree = ast.parse(path.read_text(encoding="utf-8"))
  return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("path", MAINS, ids=NAMES)
def test_numbers_are_written_before_anything_is_drawn(path):
  """Then no figure that fails can lose a number of a run that is done."""
  drawing = 0
  for function in functions(path):
    names = [name for _, name in called(function)]
    draws = [n for n, name in enumerate(names) if name.startswith("draw")]
    if draws:
      drawing += 1
      writes = [n for n, name in enumerate(names) if name in WRITES]
      # A sweep of sizes and one of parts write in a function of their own.
      inner = [n for n, name in enumerate(names) if name in OWN_WRITERS]
      assert min([*writes, *inner], default=len(names)) < min(draws)
  assert drawing or path.parent.name == "sharding"


OWN_WRITERS = ("trained", "_measured")


@pytest.mark.parametrize("name", NAMES)
def test_the_program_of_every_experiment_is_run_by_a_test(name):
  """As it is typed, by `typed` or as a process, and not `main` alone."""
  here = ROOT / "tests" / "experiments"
  text = "".join(path.read_text() for path in here.glob("test_*.py"))
  as_typed = re.search(rf'typed\(\s*"{name}"', text)
  assert as_typed or f'"-m", "experiments.{name}"' in text


# The tests of these rooms run them whole, and are slow; those of the other
# rooms run a small one by default, and need no other.
RUN_HERE = ("attention_speed", "memory_speed")


@pytest.mark.parametrize(
  "name",
  [
    name if name in RUN_HERE else pytest.param(name, marks=pytest.mark.slow)
    for name in NAMES
  ],
)
def test_the_smallest_run_of_every_program(name, tmp_path, typed, asset):
  """To its end and its numbers; the tests of a room hold what these are."""
  for needed in smallest.assets(name, ()):
    asset(needed)
  smallest.write_data(tmp_path / "data")
  flags = smallest.flags(name, tmp_path / "data")
  ended = typed(name, tmp_path / "run", *flags)
  assert ended.code == 0, ended.err
  written = {path.name for path in (tmp_path / "run").iterdir()}
  numbers = written - {"config.json"}
  assert any(name.endswith((".json", ".csv")) for name in numbers), written


@pytest.mark.slow
def test_a_figure_that_fails_loses_no_number(tmp_path, typed, monkeypatch):
  def fails(*_, **__):
    raise OSError("no place for a figure")

  monkeypatch.setattr(report, "draw", fails)
  small = {
    "batch_size": 2,
    "heldout": 4,
    "seeds": 1,
    "train.steps": 2,
    "train.evaluate_every": 0,
    "optimizer.warmup_steps": 1,
  }
  ended = typed("heads", tmp_path, small)
  assert ended.code == 1
  assert "no place for a figure" in ended.err
  assert (tmp_path / "result.json").stat().st_size > 100
