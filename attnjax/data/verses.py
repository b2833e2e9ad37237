"""Parallel verses in English and Spanish, a corpus for translation.

The World English Bible (stable text of 2020) and the Reina-Valera of 1909,
both in the public domain. Pairs have the same number in both.

The numbers are not enough. In some places the two count differently, although
their tables of verses agree, and a verse would be paired with its neighbour.
Those places were found once with a word alignment (IBM model 1 of all pairs,
each verse against 16 neighbours on each side) and read by eye; they are
`MISNUMBERED`, 192 pairs, and are left out. So are the last verses of Paul's
letters, 14, for the Spanish adds who carried the letter where. The ratio of
lengths then leaves out 14 more of 30 871, where one text has half a verse more;
alone it would have found 62 of these 220.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from attnjax.data.assets import fetch
from attnjax.data.osis import plain_text
from attnjax.data.split_by_hash import SplitName
from attnjax.data.sword import Reference, read_module

__all__ = [
  "MISNUMBERED",
  "SUBSCRIBED",
  "TEST_BOOKS",
  "VALIDATION_BOOKS",
  "VersePair",
  "load_verses",
  "split_verses",
]


# (book, chapter, first verse, last verse), by OSIS names.
MISNUMBERED = (
  ("Num", 13, 1, 33),
  ("Num", 30, 1, 16),
  ("Judg", 14, 18, 20),
  ("1Sam", 24, 1, 22),
  ("1Kgs", 22, 43, 53),
  ("1Chr", 21, 15, 30),
  ("2Chr", 33, 10, 25),
  ("Job", 39, 1, 30),
  ("Job", 40, 1, 24),
  ("Hos", 12, 1, 14),
  ("Jonah", 2, 1, 10),
  ("Matt", 23, 13, 14),
  ("Rom", 14, 23, 23),
)
SUBSCRIBED = (
  ("1Cor", 16, 24, 24),
  ("2Cor", 13, 12, 14),
  ("Gal", 6, 18, 18),
  ("Eph", 6, 24, 24),
  ("Phil", 4, 23, 23),
  ("Col", 4, 18, 18),
  ("1Thess", 5, 28, 28),
  ("2Thess", 3, 18, 18),
  ("1Tim", 6, 21, 21),
  ("2Tim", 4, 22, 22),
  ("Titus", 3, 15, 15),
  ("Phlm", 1, 25, 25),
  ("Heb", 13, 25, 25),
)
# Ecclesiastes and James repeat other books least. John is the gospel that the
# other three do not tell: one verse in forty of it shares half of its runs of
# four words with another book; of Mark it is one in four.
VALIDATION_BOOKS = ("Eccl", "Jas")
TEST_BOOKS = ("John",)

_RUN = 4  # words
_CAPITALS = re.compile(r"\b[^\W\d_]{2,}\b")


@dataclass(frozen=True)
class VersePair:
  """A verse in two languages.

  >>> VersePair("John", 11, 35, "Jesus wept.", "Y lloró Jesús.").book
  'John'
  """

  book: str
  chapter: int
  verse: int
  english: str
  spanish: str


def load_verses(
  english: Path | None = None,
  spanish: Path | None = None,
  *,
  ratios: tuple[float, float] = (0.5, 2.0),
) -> list[VersePair]:
  """Pairs of verses that have the same number in both Bibles.

  Markup and notes are removed. Spanish words all in capitals, as printed at the
  start of a chapter, are written with one capital. Books that only one Bible
  has, `MISNUMBERED` and `SUBSCRIBED` are left out.

  Args:
    english: the directory of the module's files; None: the asset
      "sword-text-web", downloaded if it is not here.
    spanish: likewise; None: "sword-text-sparv".
    ratios: the least and the greatest length of the Spanish over that of the
      English, in characters; half of all pairs are above 0.96.

  Returns:
    The pairs in the order of the books.

  Raises:
    ValueError: a module is broken, or `ratios` is no range.
    AssetError: a module is not available.
    ImportError: pysword is missing: `pip install 'attnjax[translation]'`.

  >>> load_verses(ratios=(2.0, 0.5))
  Traceback (most recent call last):
    ...
  ValueError: ratios: expected 0 <= least < greatest, got (2.0, 0.5).
  """
  if not 0 <= ratios[0] < ratios[1]:
    raise ValueError(f"ratios: expected 0 <= least < greatest, got {ratios}.")

  texts = Path("usr/share/sword/modules/texts/ztext")
  if english is None:
    english = fetch("sword-text-web") / texts / "engWEB2015eb"

  if spanish is None:
    spanish = fetch("sword-text-sparv") / texts / "spaRV1909eb"

  # The numbering that each module's own .conf names.
  return _paired(
    read_module(english, "nrsva"), read_module(spanish, "kjv"), ratios
  )


def split_verses(
  pairs: Sequence[VersePair],
  *,
  validation: Sequence[str] = VALIDATION_BOOKS,
  test: Sequence[str] = TEST_BOOKS,
) -> dict[SplitName, list[VersePair]]:
  """Splits pairs by books, and drops training verses that repeat held-out ones.

  A verse to train on is dropped if more than half of its runs of four English
  words stand in a held-out verse, or if its English or its Spanish is one.
  The same holds for validation verses that repeat test verses.

  Args:
    pairs: what to split.
    validation: OSIS names of the books to validate on.
    test: OSIS names of the books to test on.

  Returns:
    The pairs of "train", "validation" and "test", in their order.

  Raises:
    ValueError: a book is not among the pairs, or is on both sides.

  >>> verse = lambda book, text: VersePair(book, 1, 1, text, text + "!")
  >>> pairs = [verse("Mark", "So be it"), verse("John", "So be it")]
  >>> splits = split_verses([*pairs, verse("Ruth", "Go")], validation=["Ruth"])
  >>> [len(splits[name]) for name in ("train", "validation", "test")]
  [0, 1, 1]
  """
  books = {pair.book for pair in pairs}
  for book in (*validation, *test):
    if book not in books or (book in validation and book in test):
      raise ValueError(
        f"validation={tuple(validation)}, test={tuple(test)}: {book!r} is on"
        f" both, or none of the books there are, {sorted(books)}."
      )

  test_pairs = [pair for pair in pairs if pair.book in test]
  validation_pairs = _without_echoes(
    [pair for pair in pairs if pair.book in validation], test_pairs
  )
  train_pairs = _without_echoes(
    [pair for pair in pairs if pair.book not in (*validation, *test)],
    [*validation_pairs, *test_pairs],
  )

  return {
    "train": train_pairs,
    "validation": validation_pairs,
    "test": test_pairs,
  }


def _paired(
  english: dict[Reference, str],
  spanish: dict[Reference, str],
  ratios: tuple[float, float],
) -> list[VersePair]:
  """Pairs of one number, without misnumbered ones and unlikely lengths."""
  wrong = {
    (book, chapter, verse)
    for book, chapter, first, last in (*MISNUMBERED, *SUBSCRIBED)
    for verse in range(first, last + 1)
  }
  # In the order of the Spanish books.
  common = [r for r in spanish if r in english and r not in wrong]
  pairs = []

  for reference in common:
    ours = plain_text(english[reference])
    theirs = _CAPITALS.sub(_one_capital, plain_text(spanish[reference]))
    # A verse that is nothing but notes has no text.
    if ours and theirs and ratios[0] <= len(theirs) / len(ours) <= ratios[1]:
      pairs.append(VersePair(*reference, ours, theirs))

  logging.info("%d of %d verses are pairs", len(pairs), len(spanish))
  return pairs


def _one_capital(word: re.Match[str]) -> str:
  """A word in capitals with one capital; any other unchanged."""
  return word[0].capitalize() if word[0].isupper() else word[0]


def _without_echoes(
  pairs: list[VersePair], held: list[VersePair]
) -> list[VersePair]:
  """The pairs that do not repeat a held-out one."""
  texts = {text for pair in held for text in (pair.english, pair.spanish)}
  runs = {run for pair in held for run in _runs(pair.english)}
  kept = []
  for pair in pairs:
    own = _runs(pair.english)
    # More than half of its runs of four words.
    echo = 2 * sum(run in runs for run in own) > len(own)
    if not echo and not texts & {pair.english, pair.spanish}:
      kept.append(pair)
  return kept


def _runs(text: str) -> list[tuple[str, ...]]:
  """Every run of four words of a text, in small letters."""
  words = re.findall(r"[^\W\d_]+", text.lower())
  return [
    tuple(words[n : n + _RUN]) for n in range(max(0, len(words) - _RUN + 1))
  ]
