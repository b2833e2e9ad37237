"""Each link of each page of the repository leads somewhere, to the heading.

Pages are read as a host of repositories shows them: a heading's anchor is its
text in lower case, without punctuation, spaces as hyphens. Links into the web
are not followed: tests need no network.
"""

import re

import pytest
from commands import ROOT

PAGES = [
  page
  for page in sorted(ROOT.rglob("*.md"))
  if not {"build", ".venv", "runs", ".github"} & {*page.parts}
]
LINK = re.compile(r"(?:\]\(|src=\")([^)\s:\"]+)[)\"]")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def anchors(page):
  """What a link into a page may end with."""
  text = page.read_text(encoding="utf-8")
  shown = [
    re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", x) for x in HEADING.findall(text)
  ]
  return {
    re.sub(r"[^\w\- ]", "", x.strip().lower()).replace(" ", "-") for x in shown
  }


def lost(page):
  """Links of a page that lead nowhere."""
  for link in LINK.findall(page.read_text(encoding="utf-8")):
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    known = (
      anchors(target) if target.suffix == ".md" and target.exists() else ()
    )
    if not target.exists() or (anchor and known and anchor not in known):
      yield link


@pytest.mark.parametrize(
  "page",
  [pytest.param(x, id=x.relative_to(ROOT).as_posix()) for x in PAGES],
)
def test_what_a_page_links_to_exists(page):
  assert [*lost(page)] == []


def test_a_lost_file_and_a_lost_heading_are_seen(tmp_path):
  page, other = tmp_path / "a.md", tmp_path / "b.md"
  other.write_text("# What `it` is: a *name*\n")
  page.write_text(
    "[1](b.md#what-it-is-a-name) [2](b.md#it) [3](c.md) [4](https://x.y/#z)"
  )
  assert [*lost(page)] == ["b.md#it", "c.md"]
