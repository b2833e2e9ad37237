"""The pages in docs/ keep their word: their Python runs, the index names them.

A page that is added is found by itself. All blocks of a page run in one
namespace, from top to bottom, under the strict settings of the tests. A block
that imports PyTorch, Equinox or Haiku, to compare with it, runs where that is
installed; where it is not, a skipped test names the page and the lines.
"""

import ast
import importlib.util
import re

import jax
import pytest
from commands import ROOT

PAGES = sorted((ROOT / "docs").glob("**/*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
# Pages on programs of other libraries, which promote dtypes as JAX allows.
AS_OTHERS_DO = "from_"
# What pages compare with, and the extra that has it.
PEERS = {"torch": "torch", "equinox": "peers", "haiku": "peers"}
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


# Pages whose programs take seconds to compile.
LONG = (
  "caches_and_decoding",
  "own_memory",
  "published_models",
  "seeing_attention",
  "which_implementation",
)


def named(pages):
  return [
    pytest.param(
      page,
      id=page.relative_to(ROOT).as_posix(),
      marks=[pytest.mark.slow] * (page.stem in LONG),
    )
    for page in pages
  ]


def blocks(page):
  """(line, source) of each block of Python."""
  text = page.read_text(encoding="utf-8")
  for found in BLOCK.finditer(text):
    yield text[: found.start(1)].count("\n"), found[1]


def peers(source):
  """The libraries of `PEERS` that a block imports."""
  imports = (
    name
    for node in ast.walk(ast.parse(source))
    for name in (
      [alias.name for alias in node.names]
      if isinstance(node, ast.Import)
      else [node.module or ""]
      if isinstance(node, ast.ImportFrom)
      else []
    )
  )
  return PEERS.keys() & {name.split(".")[0] for name in imports}


def absent(library):
  return importlib.util.find_spec(library) is None


@pytest.mark.parametrize("page", named(p for p in PAGES if any(blocks(p))))
def test_the_python_of_a_page_runs(page, as_a_user):
  names = {"__name__": "page"}
  strict = not page.stem.startswith(AS_OTHERS_DO)
  with (
    jax.numpy_dtype_promotion("strict" if strict else "standard"),
    jax.numpy_rank_promotion("allow"),
  ):
    for line, source in blocks(page):
      if any(map(absent, peers(source))):
        continue  # the next test says so
      # Empty lines in front, so that an error names the line of the page.
      exec(compile("\n" * line + source, str(page), "exec"), names)


@pytest.mark.parametrize("library", PEERS)
def test_the_blocks_that_compare_with_a_library_ran(library):
  lines = [
    f"{page.relative_to(ROOT).as_posix()}:{line}"
    for page in PAGES
    for line, source in blocks(page)
    if library in peers(source)
  ]
  assert lines
  if absent(library):
    pytest.skip(f"attnjax[{PEERS[library]}]; not run: {', '.join(lines)}")


def test_every_page_is_in_the_index():
  index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
  linked = {
    (ROOT / "docs" / target).resolve() for target in LINK.findall(index)
  }
  assert {*PAGES} - {ROOT / "docs" / "README.md"} <= linked


def test_every_experiment_is_in_the_list():
  text = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
  linked = {*LINK.findall(text)}
  for page in (ROOT / "experiments").glob("*/README.md"):
    assert f"{page.parent.name}/README.md" in linked


def test_the_python_of_a_page_is_no_wider_than_the_page():
  for page in PAGES:
    for line, source in blocks(page):
      wide = [x for x in source.splitlines() if len(x) > 88]
      assert not wide, f"{page.name}, after line {line}: {wide}"
