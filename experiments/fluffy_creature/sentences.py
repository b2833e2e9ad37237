"""Encoding of sentences as arrays: word ids, nouns, and their adjectives."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from attnjax.data import Examples

__all__ = ["MOST", "Sentence", "Vocabulary", "encode"]

MOST = 3  # adjectives that a noun has, at most


class Sentence(NamedTuple):
  """Words; and index of each noun -> indices of its adjectives."""

  words: tuple[str, ...]
  nouns: dict[int, tuple[int, ...]]


class Vocabulary(NamedTuple):
  """Words and reportable adjectives; an id is an index.

  Word 0 is padding, word 1 stands for every unknown word.
  """

  words: tuple[str, ...]
  adjectives: tuple[str, ...]

  @classmethod
  def of(cls, sentences: Sequence[Sentence], least: int = 1) -> "Vocabulary":
    """Words, and adjectives of nouns, that occur at least `least` times."""
    words: dict[str, int] = {}
    adjectives: dict[str, int] = {}
    for sentence in sentences:
      for word in sentence.words:
        words[word] = words.get(word, 0) + 1
      for places in sentence.nouns.values():
        for place in places:
          word = sentence.words[place]
          adjectives[word] = adjectives.get(word, 0) + 1

    # Sorted, so that ids do not depend on the order of the sentences.
    known = lambda counts: tuple(
      sorted(word for word, count in counts.items() if count >= least)
    )

    return cls(("", "?", *known(words)), known(adjectives))


def encode(
  sentences: Sequence[Sentence], vocabulary: Vocabulary, length: int
) -> Examples:
  """Encodes sentences, truncated to a length.

  Args:
    sentences: at least one.
    vocabulary: numbers its words.
    length: T; what comes later is left out.

  Returns:
    `tokens` and `weights` (1 where there is a word) ``N T``; `is_noun`; and of
    each noun `described`, the numbers of its adjectives, and `places`, where
    they stand: ``N T MOST``, -1 where there is none.

  Raises:
    ValueError: there is no sentence, or one has no words.
  """
  if not sentences or not all(sentence.words for sentence in sentences):
    raise ValueError("sentences: expected one at least, each of a word or more")

  word = {w: n for n, w in enumerate(vocabulary.words)}
  adjective = {w: n for n, w in enumerate(vocabulary.adjectives)}
  shape = (len(sentences), length)
  arrays = {
    "tokens": np.zeros(shape, np.int32),
    "weights": np.zeros(shape, np.float32),
    "is_noun": np.zeros(shape, bool),
    "described": np.full((*shape, MOST), -1, np.int32),
    "places": np.full((*shape, MOST), -1, np.int32),
  }

  for row, sentence in enumerate(sentences):
    ids = [word.get(w, 1) for w in sentence.words[:length]]
    arrays["tokens"][row, : len(ids)] = ids
    arrays["weights"][row, : len(ids)] = 1
    for noun, places in sentence.nouns.items():
      known = [p for p in places if sentence.words[p] in adjective]
      # A noun with an adjective outside the vocabulary does not count.
      if noun < length and len(known) == len(places) <= MOST:
        arrays["is_noun"][row, noun] = True
        for n, place in enumerate(places):
          arrays["described"][row, noun, n] = adjective[sentence.words[place]]
          arrays["places"][row, noun, n] = place

  return Examples(arrays)
