"""What a file looks like: its size, its name, its docstrings, its words."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LONGEST = 400
NAMELESS = ("utils.py", "common.py", "helpers.py", "base.py")
UNTRACKED = {
  ".git",
  ".venv",
  ".hypothesis",
  ".mypy_cache",
  ".pytest_cache",
  ".ruff_cache",
  "__pycache__",
  "build",
  "dist",
  "runs",
}
# Written in pieces, for this file is read too.
ADDRESSES = (
  "pypi" + ".org",
  "files.pythonhosted" + ".org",
  "registry.npm" + "js",
)
MACHINE_PATH = re.compile(r"(?<![\w.~*}/-])/(work|home|root|Users)" + r"/[\w.]")


def python_files(root, *tops):
  for top in tops:
    yield from sorted((root / top).rglob("*.py"))


def text_files(root):
  """(path, text) of each file that could be tracked and is not binary."""
  for path in sorted(root.rglob("*")):
    inside = path.relative_to(root).parts
    if path.is_file() and not UNTRACKED & set(inside):
      try:
        yield path, path.read_text()
      except UnicodeDecodeError:
        continue


def undocumented(root):
  """Definitions without a docstring, and public ones without a doctest.

  Public is what a package gives out: a name of the `__all__` of some
  `__init__.py`, or of a module at the top of attnjax.
  """
  public = names_given_out(root)
  for path in python_files(root, "attnjax"):
    for node in ast.parse(path.read_text(), str(path)).body:
      if is_public_definition(node) and not is_config(node):
        text = ast.get_docstring(node)
        where = f"{path.relative_to(root)}:{node.lineno}: {node.name}"
        if not text:
          yield f"{where}: no docstring"
        elif ">>>" not in text and node.name in public:
          yield f"{where}: no doctest"


def names_given_out(root):
  """Every name in the `__all__` of a package, or of a front module's room."""
  fronts = {*(root / "attnjax").glob("*.py")}
  fronts |= {path.parent / "ops" / path.name for path in fronts}
  names = set()
  for path in python_files(root, "attnjax"):
    if path.name == "__init__.py" or path in fronts:
      for node in ast.parse(path.read_text(), str(path)).body:
        if is_all(node) and isinstance(node.value, ast.List):
          names |= set(ast.literal_eval(node.value))
  return names


def is_all(node):
  """Whether a statement is `__all__ = ...`."""
  return isinstance(node, ast.Assign) and any(
    isinstance(target, ast.Name) and target.id == "__all__"
    for target in node.targets
  )


def is_public_definition(node):
  kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
  if not isinstance(node, kinds) or node.name.startswith("_"):
    return False
  # The overloads of a function are documented where its body is.
  return "overload" not in map(ast.unparse, node.decorator_list)


def is_config(node):
  """Whether it is a frozen dataclass whose name ends with Config."""
  frozen = any(
    "frozen=True" in ast.unparse(decorator) for decorator in node.decorator_list
  )
  return node.name.endswith("Config") and frozen


def too_long(root):
  for path in python_files(root, "attnjax", "experiments"):
    lines = len(path.read_text().splitlines())
    if lines > LONGEST:
      yield f"{path.relative_to(root)}: {lines} lines, at most {LONGEST}"


def nameless(root):
  for path in python_files(root, "attnjax", "experiments", "launch", "tests"):
    if path.name in NAMELESS:
      yield f"{path.relative_to(root)}: a name that says nothing"


def bare_asserts(root):
  """Asserts vanish under `python -O`; a ValueError says what to do."""
  for path in python_files(root, "attnjax", "experiments"):
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
      if isinstance(node, ast.Assert):
        yield f"{path.relative_to(root)}:{node.lineno}: a bare assert"


def foreign_words(root):
  """Paths of one machine and addresses of package registries."""
  for path, text in text_files(root):
    for number, line in enumerate(text.splitlines(), start=1):
      where = f"{path.relative_to(root)}:{number}"
      yield from (f"{where}: {word}" for word in ADDRESSES if word in line)
      if match := MACHINE_PATH.search(line):
        yield f"{where}: the path of one machine, {match[0]}..."


RULES = (undocumented, too_long, nameless, bare_asserts, foreign_words)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule):
  found = list(rule(ROOT))
  assert not found, f"{rule.__name__}:\n" + "\n".join(found)


GOOD = '''"""A module."""
import dataclasses

@dataclasses.dataclass(frozen=True)
class OneConfig:
  """No doctest needed."""

def f(x):
  """Doubles.

  >>> f(1)
  2
  """
  return 2 * x

def _g(): pass
'''


def given_out(name, head):
  return f'__all__ = ["{name}"]\n{head}\n  "A."'


PLANTED = [
  ("undocumented", "attnjax/a.py", "def f(): pass", "a.py:1: f: no docstring"),
  ("undocumented", "attnjax/a.py", given_out("f", "def f():"), "f: no doctest"),
  ("undocumented", "attnjax/a.py", given_out("C", "class C:"), "C: no doctest"),
  (
    "undocumented",
    "attnjax/a.py",
    given_out("AConfig", "class AConfig:"),
    "no doctest",
  ),
  ("too_long", "attnjax/a.py", "\n" * 401, "a.py: 401 lines, at most 400"),
  ("nameless", "tests/x/utils.py", "", "tests/x/utils.py: a name"),
  ("bare_asserts", "experiments/a.py", "if 1:\n  assert 2", "a.py:2: a bare"),
  ("foreign_words", "a.md", f"\nsee https://{ADDRESSES[0]}/x", "a.md:2: "),
  ("foreign_words", "launch/a.sh", "cd /work" + "/main", "launch/a.sh:1: the"),
  ("foreign_words", "a.py", "open('/home" + "/me/x')", "a.py:1: the path of"),
]


@pytest.mark.parametrize(("rule", "file", "text", "message"), PLANTED)
def test_a_planted_violation_is_found(tmp_path, rule, file, text, message):
  good, bad = tmp_path / "attnjax" / "good.py", tmp_path / file
  for path, content in ((good, GOOD), (bad, text)):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
  for check in RULES:
    found = list(check(tmp_path))
    assert len(found) == (check.__name__ == rule)
    assert all(message in line for line in found)


def test_words_that_only_look_foreign_pass(tmp_path):
  (tmp_path / "a.md").write_text("net/work" + "/x ~/home" + "/x ./work" + "/x")
  (tmp_path / ".venv").mkdir()
  (tmp_path / ".venv" / "a.md").write_text(ADDRESSES[1])
  (tmp_path / "image.png").write_bytes(b"\x89PNG\xff\xfe" + b"/work" + b"/x")
  assert list(foreign_words(tmp_path)) == []


def test_the_walk_from_attend_to_exp_is_short():
  """In a process of its own, where no annotation is checked on the way."""
  program = (
    "import sys; sys.path[:0] = ['tests', '.']; import house_figures;"
    " print(*house_figures.walk().frames, sep='\\n')"
  )
  done = subprocess.run(
    [sys.executable, "-c", program],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  levels = done.stdout.split()
  assert levels[0] == "ops/attention/attend.py:attend"
  assert levels[-1] == "ops/attention/online_softmax.py:step"
  assert len(levels) <= 6
  assert len({level.split(":")[0] for level in levels}) <= 8
  guide = (ROOT / "attnjax/ops/attention/README.md").read_text()
  assert all(level.split(":")[1].strip("_") in guide for level in levels)
