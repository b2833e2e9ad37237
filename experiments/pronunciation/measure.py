"""How words are said by a network, and how far that is from the dictionary."""

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

BINS = ((1, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 99))
_LONGEST = 32  # phonemes at most; the dictionary's longest word has 28
_ROWS = 256  # words decoded at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Speaker:
  """A network that `translate` can run, with its alphabets.

  Args:
    model: an encoder-decoder.
    encode: a spelling -> ids.
    decode: ids that may have an end among them -> phonemes without stress.
    start: the id that the decoder reads first.
    end: the id that ends a word.
  """

  model: Any
  encode: Callable[[str], Sequence[int]]
  decode: Callable[[Iterable[int]], Sequence[str]]
  start: int = START
  end: int = END


def ours(model: Any) -> Speaker:
  """A model of `task.make`."""
  return Speaker(model, GRAPHEMES.encode, PHONEMES.decode)


def say(
  speaker: Speaker, spellings: Sequence[str], beams: int
) -> list[tuple[str, ...]]:
  """Phonemes of each spelling, the likeliest found.

  Raises:
    ValueError: a spelling is empty or has a letter that is not in the alphabet.
  """
  if "" in spellings:
    raise ValueError("spellings: one of them is empty; leave it out")

  coded = [speaker.encode(spelling) for spelling in spellings]
  # Few widths, for each is a program of its own.
  width = -(-max(map(len, coded), default=1) // 8) * 8
  said: list[tuple[str, ...]] = [()] * len(coded)
  # In order of length, for a search lasts as long as its longest row.
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
  """Ids and lengths of `_ROWS` rows, the first repeated where some lack."""
  coded = coded + coded[:1] * (_ROWS - len(coded))
  source = np.zeros((_ROWS, width), np.int32)
  for row, ids in zip(source, coded, strict=True):
    row[: len(ids)] = ids
  return source, np.array([len(ids) for ids in coded], np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
  """One number a word: letters, errors, phonemes of the closest reference."""

  letters: np.ndarray
  errors: np.ndarray
  phonemes: np.ndarray

  def within(self, shortest: int, longest: int) -> "Scores":
    """Those of words of so many letters."""
    kept = (self.letters >= shortest) & (self.letters <= longest)
    return Scores(self.letters[kept], self.errors[kept], self.phonemes[kept])

  @property
  def error_rate(self) -> float:
    """Edits a hundred reference phonemes; NaN where there is no word."""
    total = self.phonemes.sum()
    return 100 * float(self.errors.sum() / total) if total else float("nan")

  @property
  def exact(self) -> float:
    """Words of a hundred said exactly as one of their references."""
    none = not len(self.errors)
    return float("nan") if none else 100 * float((self.errors == 0).mean())


def score(words: Sequence[Word], said: Sequence[Sequence[str]]) -> Scores:
  """Each word against the closest of its pronunciations, the first of equals.

  Only the best of several references is asked for, as is usual for this task.
  """
  rows = []
  for word, phonemes in zip(words, said, strict=True):
    near = min(
      (edit_distance(phonemes, reference), place, len(reference))
      for place, reference in enumerate(word.pronunciations)
    )
    rows.append((len(word.spelling), near[0], near[2]))
  letters, errors, lengths = np.array(rows, int).reshape(-1, 3).T
  return Scores(letters, errors, lengths)


def edit_distance(a: Sequence, b: Sequence) -> int:
  """Least number of insertions, deletions and substitutions from a to b.

  >>> edit_distance("kitten", "sitting")
  3

  Reference: Levenshtein, "Binary codes capable of correcting deletions,
  insertions, and reversals", 1966; the table is that of Wagner and Fischer.
  """
  above = list(range(len(b) + 1))
  for i, x in enumerate(a, start=1):
    row = [i]
    for j, y in enumerate(b, start=1):
      row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    above = row
  return above[-1]
