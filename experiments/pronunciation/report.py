"""Tables and curves of phoneme and word errors over word length."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from attnjax.data import Word
from attnjax.runs import spread, table
from attnjax.viz import save_lines
from experiments.pronunciation.measure import (
  BINS,
  Scores,
  Speaker,
  say,
  score,
)
from experiments.pronunciation.task import Data

__all__ = [
  "NAMES",
  "draw_errors",
  "length_tables",
  "overall_table",
  "plain",
  "searches",
  "sizes",
  "tested",
]

# name of a network -> name of a search -> scores of each seed
Found = Mapping[str, Mapping[str, Sequence[Scores]]]

NAMES = {
  "additive": "additive attention",
  "dot": "dot-product attention",
  "general": "bilinear attention",
  "none": "fixed vector",
}

# Phoneme and word error rates, %, on other splits of the CMU dictionary.
PAPERS = {
  "bidirectional LSTM on aligned letters (Yao, Zweig 2015)": (5.45, 23.55),
  "ensemble with global attention (Toshniwal, Livescu 2016)": (4.69, 20.24),
}
_MEASURES = {
  "phoneme errors, %": "error_rate",
  "words exactly right, %": "exact",
}


def sizes(data: Data) -> str:
  """Sizes of the three splits as text."""
  return (
    f"train      {len(data.train):>8,} pronunciations\n"
    f"validation {len(data.validation):>8,} pronunciations\n"
    f"test       {len(data.test):>8,} words"
  )


def searches(beams: int) -> dict[str, int]:
  """Name -> beams of every search that is scored."""
  return {"greedy": 1} | ({f"beam {beams}": beams} if beams > 1 else {})


def tested(speaker: Speaker, words: Sequence[Word], beams: int) -> Scores:
  """Decodes the test words and scores them."""
  return score(words, say(speaker, [word.spelling for word in words], beams))


def overall_table(found: Found, speakers: Mapping) -> str:
  """Table of error rates over all words, with published figures below."""
  searched = list(next(iter(found.values())))
  columns = ["network", "parameters"]
  columns += [f"{m}, {s}" for m in _MEASURES for s in searched]

  rows = []
  for name, by_search in found.items():
    cells = [
      spread([getattr(scores, measure) for scores in by_search[s]])
      for measure in _MEASURES.values()
      for s in searched
    ]
    rows.append([name, f"{_parameters(speakers[name][0]):,}", *cells])

  # The papers have one search: its figures stand under our widest one.
  blank = ["-"] * (len(searched) - 1)
  for name, (phonemes, words) in PAPERS.items():
    # The papers give words that are wrong, the column those that are right.
    cells = [*blank, f"{phonemes}", *blank, f"{100 - words:.2f}"]
    rows.append([f"{name}, another split", "-", *cells])

  return "\n" + table(columns, rows)


def _parameters(speaker: Speaker) -> int:
  """Number of parameters of a network."""
  return sum(leaf.size for leaf in jax.tree.leaves(speaker.model))


def length_tables(found: Found) -> str:
  """Tables of phoneme and of word errors, a column a bin of word length."""
  some = _scores(found)
  bins = _bins(some)
  columns = [
    "letters",
    *(_bin_name(b, len(some.within(*b).errors)) for b in bins),
  ]

  tables = []
  for title, measure in _MEASURES.items():
    rows = [
      [
        f"{name}, {search}",
        *(
          spread([getattr(one.within(*b), measure) for one in seeds])
          for b in bins
        ),
      ]
      for name, by_search in found.items()
      for search, seeds in by_search.items()
    ]
    tables.append(f"\n{title}\n\n{table(columns, rows)}")

  return "\n".join(tables)


def _scores(found: Found) -> Scores:
  """Scores of the first run; word lengths are the same in all."""
  return next(iter(next(iter(found.values())).values()))[0]


def _bins(scores: Scores) -> list[tuple[int, int]]:
  """Bins of `BINS` that have words."""
  return [b for b in BINS if len(scores.within(*b).errors)]


def _bin_name(edges: tuple[int, int], count: int) -> str:
  """Label of a bin: its letters, and its number of words."""
  first, last = edges
  letters = f"{first} and more" if edges == BINS[-1] else f"{first} to {last}"
  return f"{letters} ({count:,})"


def draw_errors(path: Path, found: Found) -> Path:
  """Draws phoneme error rates of greedy search against mean word length."""
  some = _scores(found)
  bins = _bins(some)
  letters = [float(some.within(*b).letters.mean()) for b in bins]
  lines = {
    name: (
      letters,
      # Greedy, which every config searches by.
      [[one.within(*b).error_rate for b in bins] for one in seeds["greedy"]],
    )
    for name, seeds in found.items()
  }

  return save_lines(
    path,
    lines,
    x_label="letters of the word",
    y_label="phoneme errors, %, held-out words",
  )


def plain(found: Found) -> dict:
  """Error rates of every run, overall and by bin, for JSON."""
  row = lambda scores: {m: getattr(scores, m) for m in _MEASURES.values()}

  return {
    name: {
      search: [
        row(one)
        | {
          "by_letters": {
            f"{a}-{b}": row(one.within(a, b)) for a, b in _bins(one)
          }
        }
        for one in seeds
      ]
      for search, seeds in by_search.items()
    }
    for name, by_search in found.items()
  }
