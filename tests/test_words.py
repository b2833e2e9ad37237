"""Words that only whoever wrote the project would know are not in its texts."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A seed is one of random numbers; the page the project began with is "the
# notes". Written in pieces, for this file is read too.
PRIVATE = re.compile(
  r"\bthe seed" + r"'s\b|\bseed (?:notes|class|document)\b|"
  r"(?:network|head|layer|class|recipe|task) of the seed\b",
  re.I,
)


def texts():
  rooms = ("attnjax", "experiments", "launch", "docs")
  for room in rooms:
    for suffix in ("py", "md"):
      yield from sorted((ROOT / room).rglob(f"*.{suffix}"))
  # The changelog tells of older texts in their words.
  yield from (p for p in ROOT.glob("*.md") if p.name != "CHANGELOG.md")


def test_no_text_speaks_of_a_seed_that_no_reader_knows():
  found = [
    f"{path.relative_to(ROOT)}: {match[0]}"
    for path in texts()
    for match in PRIVATE.finditer(path.read_text(encoding="utf-8"))
  ]
  assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["The seed's network", "the head of the seed"])
def test_what_is_looked_for_is_found(text):
  assert PRIVATE.search(text)
  assert not PRIVATE.search("the mean over seeds; depends on the seed")
