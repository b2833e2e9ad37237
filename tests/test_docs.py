"""The pages in docs/ keep their word: their Python runs, their links exist.

A page that is added is found by itself. All blocks of a page run in one
namespace, from top to bottom, under the strict settings of the tests.
"""

import re

import jax
import pytest
from commands import ROOT

PAGES = sorted((ROOT / "docs").glob("**/*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
# Flax's own modules promote dtypes.
AS_FLAX_DOES = ("from_jax_nn",)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def named(pages):
  return [
    pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages
  ]


def blocks(page):
  """(line, source) of each block of Python."""
  text = page.read_text(encoding="utf-8")
  for found in BLOCK.finditer(text):
    yield text[: found.start(1)].count("\n"), found[1]


@pytest.mark.parametrize("page", named(p for p in PAGES if any(blocks(p))))
def test_the_python_of_a_page_runs(page, as_a_user):
  names = {"__name__": "page"}
  strict = page.stem not in AS_FLAX_DOES
  with (
    jax.numpy_dtype_promotion("strict" if strict else "standard"),
    jax.numpy_rank_promotion("allow"),
  ):
    for line, source in blocks(page):
      # Empty lines in front, so that an error names the line of the page.
      exec(compile("\n" * line + source, str(page), "exec"), names)


@pytest.mark.parametrize("page", named(PAGES))
def test_what_a_page_links_to_exists(page):
  for target in LINK.findall(page.read_text(encoding="utf-8")):
    assert (page.parent / target).exists(), target


def test_every_page_is_in_the_index():
  index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
  linked = {
    (ROOT / "docs" / target).resolve() for target in LINK.findall(index)
  }
  assert {*PAGES} - {ROOT / "docs" / "README.md"} <= linked


def test_the_python_of_a_page_is_no_wider_than_the_page():
  for page in PAGES:
    for line, source in blocks(page):
      wide = [x for x in source.splitlines() if len(x) > 88]
      assert not wide, f"{page.name}, after line {line}: {wide}"
