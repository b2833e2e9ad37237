"""Imports go downhill only, and say so by name when they do not.

Every import of every file is read from its source, those inside functions too.
"""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# Rooms on one floor do not open on each other. The front is what stands in
# attnjax/ itself: __init__.py and files such as masks.py that only re-export.
FLOORS = (
  ("renames",),
  ("moved",),
  ("typing", "config", "extras"),
  ("retired",),
  ("ops",),
  ("front",),
  ("nn", "parallel", "data", "training", "viz", "testing"),
  ("models", "plan"),
  ("runs",),
  ("experiments",),
  ("launch",),
  ("docs",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# What is downhill, or outside, and is kept out all the same.
CLOSED = {
  "ops": ("absl", "flax"),
  "nn": ("absl",),
  "training": ("attnjax.ops", "front"),
}
BACKENDS = ("reference", "blockwise", "pallas_tpu", "pallas_gpu", "cudnn")
LATE = ("matplotlib", "tensorboardX", "tokenizers", "rich.progress")
LATE += ("sklearn", "pysword", "sacrebleu")


def sources(root):
  """Every Python file of the library and of what stands on it."""
  for top in ("attnjax", "docs", "experiments", "launch"):
    yield from sorted((root / top).rglob("*.py"))


def module_of(root, path):
  """The dotted name of a file."""
  parts = path.relative_to(root).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(root, name):
  path = root.joinpath(*name.split("."))
  return path.is_dir() or path.with_suffix(".py").is_file()


def room_of(root, name):
  """The room a dotted name is in; None for what is not of this house."""
  parts = name.split(".")
  if parts[0] != "attnjax":
    return parts[0] if parts[0] in ("docs", "experiments", "launch") else None
  if len(parts) == 1:
    return "front"
  single_file = root.joinpath(*parts[:2]).with_suffix(".py").is_file()
  return "front" if single_file and parts[1] not in FLOOR else parts[1]


def imported(root, path):
  """(line, dotted name) of everything a file imports, wherever it does."""
  package = module_of(root, path).split(".")
  if path.name != "__init__.py":
    package.pop()
  for node in ast.walk(ast.parse(path.read_text(), str(path))):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield node.lineno, alias.name
    elif isinstance(node, ast.ImportFrom):
      above = package[: len(package) - node.level + 1] if node.level else []
      base = ".".join([*above, *([node.module] if node.module else [])])
      for alias in node.names:
        inner = f"{base}.{alias.name}"
        yield node.lineno, inner if is_module(root, inner) else base
    elif isinstance(node, ast.Call) and node.args:
      function = getattr(node.func, "attr", getattr(node.func, "id", ""))
      name = getattr(node.args[0], "value", None)
      if function in ("import_module", "__import__") and isinstance(name, str):
        yield node.lineno, name


def within(name, package):
  return name == package or name.startswith(package + ".")


def complaint(root, module, name):
  """Why a module may not import a name; None where it may."""
  here, there = room_of(root, module), room_of(root, name)
  for closed in CLOSED.get(here, ()):
    if closed == there or within(name, closed):
      return f"{here} imports no {closed}"
  if there is None:
    return None
  for room in (here, there):
    if room not in FLOOR:
      return f"attnjax/{room} has no floor in tests/test_house.py"
  if here == there == "experiments":
    return experiment_complaint(root, module, name)
  if here == there:
    return backend_complaint(module, name)
  if FLOOR[here] < FLOOR[there]:
    return f"uphill, from {here} to {there}"
  if FLOOR[here] == FLOOR[there]:
    return f"sideways, from {here} to {there}"
  return None


def backend_complaint(module, name):
  """Backends of attention never import one another."""
  folder = "attnjax.ops.attention."
  here, there = (
    full.removeprefix(folder).split(".")[0] if full.startswith(folder) else ""
    for full in (module, name)
  )
  if here != there and here in BACKENDS and there in BACKENDS:
    return f"backend {here} imports backend {there}"
  return None


def experiment_complaint(root, module, name):
  """What has a `__main__` imports nothing from another that has one.

  Rooms without one, such as `timing`, and single files are what they share.
  """
  here, there = (dotted.split(".")[1:2] for dotted in (module, name))
  if not here or not there or here == there:
    return None
  room = root / "experiments" / there[0]
  if (room / "__main__.py").is_file():
    return f"experiment {there[0]} is imported from experiments.{here[0]}"
  return None


def for_checkers_alone(path):
  """Lines that only a type checker reads: there the front names its rooms."""
  if not path.is_file():
    return
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
      yield from (part.lineno for part in node.body)


def violations(root):
  """One line for each import that should not be there."""
  found = []
  front = root / "attnjax" / "__init__.py"
  unread = {("attnjax", line) for line in for_checkers_alone(front)}
  for path in sources(root):
    module = module_of(root, path)
    for line, name in imported(root, path):
      why = complaint(root, module, name)
      if why and (module, line) not in unread:
        found.append(f"{path.relative_to(root)}:{line}: {name}: {why}")
  return found


def test_every_import_goes_downhill():
  found = violations(ROOT)
  assert not found, "imports that go the wrong way:\n" + "\n".join(found)


@pytest.fixture
def house(tmp_path):
  """A house that keeps the rules, to break them in."""
  files = {
    "attnjax/__init__.py": "from attnjax.ops.core import f",
    "attnjax/masks.py": "from attnjax.ops.core import *",
    "attnjax/typing.py": "import jaxtyping, typing",
    "attnjax/config/__init__.py": "import typing\nfrom absl import flags",
    "attnjax/ops/core.py": "from attnjax.typing import Array",
    "attnjax/ops/attention/reference.py": "from attnjax.ops import core",
    "attnjax/ops/attention/cudnn.py": "from . import reference_free",
    "attnjax/nn/layer.py": "from attnjax import masks\nimport flax",
    "attnjax/training/loop.py": "from attnjax.config import setting",
    "attnjax/models/decoder.py": "from ..nn.layer import Layer",
    "experiments/lm/__main__.py": "from experiments.shared import rounds",
    "experiments/shared/rounds.py": "import attnjax.models.decoder",
    "experiments/runs.py": "import experiments.shared.rounds",
  }
  for name, text in files.items():
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
  assert violations(tmp_path) == []
  return tmp_path


@pytest.mark.parametrize(
  ("file", "text", "message"),
  [
    ("ops/x.py", "from attnjax.nn import layer", "uphill, from ops to nn"),
    ("ops/x.py", "from attnjax import nn", "uphill, from ops to nn"),
    ("ops/x.py", "from attnjax import f", "uphill, from ops to front"),
    ("ops/x.py", "from ..nn.layer import L", "uphill, from ops to nn"),
    ("ops/x.py", "def f():\n  import attnjax.viz", "uphill, from ops to viz"),
    ("ops/x.py", "import_module('attnjax.nn')", "uphill, from ops to nn"),
    ("ops/x.py", "import flax.nnx", "ops imports no flax"),
    ("ops/x.py", "from absl import logging", "ops imports no absl"),
    ("nn/x.py", "import absl.flags", "nn imports no absl"),
    (
      "nn/x.py",
      "import attnjax.parallel.mesh",
      "sideways, from nn to parall",
    ),
    ("nn/x.py", "import attnjax.models", "uphill, from nn to models"),
    ("training/x.py", "import attnjax.ops.core", "training imports no attnja"),
    ("training/x.py", "from attnjax import masks", "training imports no front"),
    ("training/x.py", "import attnjax.nn", "sideways, from training to nn"),
    ("config/x.py", "import attnjax.typing", "sideways, from config to typin"),
    ("masks.py", "import attnjax.nn", "uphill, from front to nn"),
    ("data/x.py", "import experiments.lm", "uphill, from data to experiment"),
    ("attic/x.py", "import attnjax.ops.core", "attnjax/attic has no floor"),
    (
      "ops/attention/cudnn.py",
      "from .reference import f",
      "backend cudnn imports backend reference",
    ),
  ],
)
def test_a_planted_violation_is_found(house, file, text, message):
  path = house / "attnjax" / file
  path.parent.mkdir(exist_ok=True)
  path.write_text(text)
  (found,) = violations(house)
  assert found.startswith(f"attnjax/{file}:{1 + text.count(chr(10))}: ")
  assert message in found


@pytest.mark.parametrize(
  "file", ["mt/task.py", "mt/__main__.py", "shared/x.py", "sequence.py"]
)
@pytest.mark.parametrize(
  "text", ["from experiments.lm.task import loss", "from experiments import lm"]
)
def test_an_experiment_that_is_imported_from_elsewhere_is_found(
  house, file, text
):
  for path in (house / "experiments" / file, house / "experiments/mt/here.py"):
    path.parent.mkdir(exist_ok=True)
  (house / "experiments/mt/here.py").write_text("import experiments.mt.task")
  (house / "experiments" / file).write_text(text)
  (found,) = violations(house)
  assert found.startswith(f"experiments/{file}:1: ")
  assert "experiment lm is imported from experiments." in found


def test_import_attnjax_is_light():
  program = f"""
import sys, attnjax
print(*(name for name in {(*LATE, "beartype")} if name in sys.modules))
"""
  done = subprocess.run(
    [sys.executable, "-c", program],
    capture_output=True,
    text=True,
    check=True,
    cwd=ROOT,
  )
  assert done.stdout.split() == []


def namesakes(paths):
  """The names that several of some files have."""
  names = [path.name for path in paths]
  return {name for name in names if names.count(name) > 1}


def test_no_two_test_files_have_one_name():
  """Pytest imports each by its name, and would not collect the second."""
  paths = [pathlib.Path("a/test_x.py"), pathlib.Path("b/test_x.py")]
  assert namesakes(paths) == {"test_x.py"}
  assert not namesakes((ROOT / "tests").rglob("test_*.py"))
