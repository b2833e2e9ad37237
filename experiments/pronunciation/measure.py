"""Decoding of words, and phoneme and word error rates by edit distance."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from attnjax.data import GRAPHEMES, Word
from attnjax.data.vocabulary import END, START
from attnjax.models import translate
from experiments.pronunciation.task import PHONEMES

__all__ = ["BINS", "Scores", "Speaker", "edit_distance", "ours", "say", "score"]

# Letters of a word, first and last of each bin; the last has no upper end.
BINS = ((1, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 99))
_LONGEST = 32  # phonemes at most; the dictionary's longest word has 28
_ROWS = 256  # words decoded at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Speaker:
  """An encoder-decoder with the encoding of its letters and phonemes.

  Args:
    model: an encoder-decoder, as `attnjax.models.translate` takes it.
    encode: a spelling -> ids.
    decode: ids, an end perhaps among them -> phonemes without stress.
    start: id that the decoder reads first.
    end: id that ends a word.
  """

  model: Any
  encode: Callable[[str], Sequence[int]]
  decode: Callable[[Iterable[int]], Sequence[str]]
  start: int = START
  end: int = END


def ours(model: Any) -> Speaker:
  """A model of `task.make` with the alphabets it was trained on."""
  return Speaker(model, GRAPHEMES.encode, PHONEMES.decode)


def say(
  speaker: Speaker, spellings: Sequence[str], beams: int
) -> list[tuple[str, ...]]:
  """Predicts phonemes by beam search.

  Args:
    speaker: network and alphabets.
    spellings: words, of any lengths.
    beams: hypotheses kept; 1 is greedy.

  Returns:
    The best hypothesis of each spelling, in their order.

  Raises:
    ValueError: a spelling is empty or has a letter that is not in the alphabet.
  """
  if "" in spellings:
    raise ValueError("spellings: one of them is empty; leave it out")

  coded = [speaker.encode(spelling) for spelling in spellings]
  # Rounded up to 8 letters: each width compiles a program of its own.
  width = -(-max(map(len, coded), default=1) // 8) * 8
  said: list[tuple[str, ...]] = [()] * len(coded)
  # Sorted by length: the search of a batch runs until its longest row ends.
  order = sorted(range(len(coded)), key=lambda place: len(coded[place]))

  for first in range(0, len(order), _ROWS):
    places = order[first : first + _ROWS]
    rows = _rows([coded[place] for place in places], width)
    source, lengths = jax.device_put(rows)
    found = translate(
      speaker.model,
      source,
      lengths,
      beams=beams,
      start=speaker.start,
      end=speaker.end,
      max_length=_LONGEST,
    )
    best = np.asarray(found.tokens)[:, 0]
    for place, tokens in zip(places, best, strict=False):
      said[place] = tuple(speaker.decode(tokens))

  return said


def _rows(coded: list, width: int) -> tuple[np.ndarray, np.ndarray]:
  """Pads to ids ``256 width`` and lengths ``256``."""
  # The last batch repeats its first row, so that all have one shape.
  coded = coded + coded[:1] * (_ROWS - len(coded))
  source = np.zeros((_ROWS, width), np.int32)
  for row, ids in zip(source, coded, strict=True):
    row[: len(ids)] = ids
  return source, np.array([len(ids) for ids in coded], np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
  """Letters, edit distance and reference length of each word, ``N`` each."""

  letters: np.ndarray
  errors: np.ndarray
  phonemes: np.ndarray

  def within(self, shortest: int, longest: int) -> "Scores":
    """Scores of words of `shortest` to `longest` letters, both included."""
    kept = (self.letters >= shortest) & (self.letters <= longest)
    return Scores(self.letters[kept], self.errors[kept], self.phonemes[kept])

  @property
  def error_rate(self) -> float:
    """Phoneme error rate, %: edits / reference phonemes; NaN without words."""
    total = self.phonemes.sum()
    return 100 * float(self.errors.sum() / total) if total else float("nan")

  @property
  def exact(self) -> float:
    """Share of words equal to one of their references, %; NaN without words."""
    none = not len(self.errors)
    return float("nan") if none else 100 * float((self.errors == 0).mean())


def score(words: Sequence[Word], said: Sequence[Sequence[str]]) -> Scores:
  """Scores each word against the closest of its reference pronunciations.

  Of equally close references the first counts. That the closest one counts is
  usual for this task.
  """
  rows = []
  for word, phonemes in zip(words, said, strict=True):
    near = min(
      # `place` decides ties, before the length could.
      (edit_distance(phonemes, reference), place, len(reference))
      for place, reference in enumerate(word.pronunciations)
    )
    rows.append((len(word.spelling), near[0], near[2]))
  letters, errors, lengths = np.array(rows, int).reshape(-1, 3).T
  return Scores(letters, errors, lengths)


def edit_distance(a: Sequence, b: Sequence) -> int:
  """Levenshtein distance: least insertions, deletions and substitutions.

  >>> edit_distance("kitten", "sitting")
  3

  Reference: Levenshtein, "Binary codes capable of correcting deletions,
  insertions, and reversals", 1966; the table is that of Wagner and Fischer.
  """
  # Two rows of the table suffice: `row` needs the one above it alone.
  above = list(range(len(b) + 1))
  for i, x in enumerate(a, start=1):
    row = [i]
    for j, y in enumerate(b, start=1):
      row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    above = row
  return above[-1]
