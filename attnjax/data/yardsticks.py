"""Baselines in bits per byte: n-gram models and xz on the held-out text.

All are over every byte of the held-out documents, the bytes that a language
model predicts. Smoothing is fitted on the training text alone.
"""

import lzma
from collections.abc import Callable, Sequence

import numpy as np

from attnjax.data.corpora import Document
from attnjax.data.ngrams import (
  Evidence,
  NGrams,
  add_k,
  byte_keys,
  evidence,
  interpolate,
  ngrams,
  shorten,
)
from attnjax.data.split import split

__all__ = [
  "byte_bits",
  "xz",
  "yardsticks",
]


_ORDER = 5
# Smoothing is searched in steps of a factor of two.
_STRENGTHS = [2.0**power for power in range(-16, 17)]
# Coordinate descent over the strengths; a second sweep changes little.
_SWEEPS = 2


def yardsticks(
  train: Sequence[Document], heldout: Sequence[Document]
) -> dict[str, float]:
  """Bits per byte of the held-out text under n-gram models and xz.

  `uniform` gives each byte 1/256. `unigram`, `bigram` and `5-gram` count bytes
  after the 0, 1 and 4 bytes before them, smoothed by add-k. `5-gram
  interpolated` mixes contexts of 0 to 4 bytes and is the strongest of these.
  Smoothing is fitted on a tenth of the training documents with counts from the
  others; then all of them are counted. `xz` is what the held-out text adds to
  the size of the training text under `xz -9`; it needs 0.7 GB of memory.

  Args:
    train: the training documents, two bytes of text at least.
    heldout: the held-out documents.

  Returns:
    Bits per byte by name.

  Raises:
    ValueError: a text is empty, or too short to fit the smoothing.

  >>> from attnjax.data.corpora import Document
  >>> texts = [Document(str(n), b"abc" * (n + 9)) for n in range(9)]
  >>> bits = yardsticks(texts[:8], texts[8:])
  >>> bits["uniform"] > bits["unigram"] > bits["bigram"]
  True
  """
  for name, side in (("train", train), ("heldout", heldout)):
    if not any(document.text for document in side):
      raise ValueError(f"{name}: expected some text, got none.")

  # Smoothing is chosen on a tenth of the training text, never on held-out text.
  counted, chosen_on = split(train, 0.1)
  part, rest = ngrams(counted, _ORDER), ngrams(chosen_on, _ORDER)
  whole, target = ngrams(train, _ORDER), ngrams(heldout, _ORDER)
  bits = {"uniform": 8.0}

  for name, order in (("unigram", 1), ("bigram", 2), ("5-gram", _ORDER)):
    k = _fit_k(shorten(part, order), shorten(rest, order))
    goal = shorten(target, order)
    found = evidence(shorten(whole, order), goal.keys)
    bits[name] = _bits(goal, add_k(found, k))

  strengths = _fit_strengths(part, rest)
  found = evidence(whole, target.keys)
  bits["5-gram interpolated"] = _bits(target, interpolate(found, strengths))
  bits["xz"] = xz(train, heldout)

  return bits


def byte_bits(
  train: Sequence[Document], heldout: Sequence[Document]
) -> list[np.ndarray]:
  """Bits of each held-out byte under `5-gram interpolated` of `yardsticks`.

  Args:
    train: the training documents, two bytes of text at least.
    heldout: documents, which may be empty.

  Returns:
    An array of float64 a document, a number a byte: to set a model beside the
    5-gram on any part of the text.

  Raises:
    ValueError: the training text is too short to fit the smoothing.

  >>> from attnjax.data.corpora import Document
  >>> texts = [Document(str(n), b"abc" * (n + 9)) for n in range(9)]
  >>> bits = byte_bits(texts[:8], texts[8:])
  >>> whole = yardsticks(texts[:8], texts[8:])["5-gram interpolated"]
  >>> len(bits[0]), bool(abs(bits[0].mean() - whole) < 1e-9)
  (51, True)
  """
  counted, chosen_on = split(train, 0.1)
  part, rest = ngrams(counted, _ORDER), ngrams(chosen_on, _ORDER)
  strengths = _fit_strengths(part, rest)

  found = evidence(ngrams(train, _ORDER), byte_keys(heldout, _ORDER))
  bits = -np.log2(interpolate(found, strengths))
  ends = np.cumsum([len(document.text) for document in heldout])
  return np.split(bits, ends[:-1])


def xz(train: Sequence[Document], heldout: Sequence[Document]) -> float:
  """Bits per byte that held-out text adds to a training text under `xz -9`.

      8 (size(train + heldout) - size(train)) / bytes(heldout)

  Args:
    train: the training documents, end to end.
    heldout: the held-out documents, not empty.

  Returns:
    Bits per byte.

  Raises:
    ValueError: there is no held-out text.

  >>> from attnjax.data.corpora import Document
  >>> text = [Document("a", bytes(range(256)) * 40)]
  >>> xz(text, text) < 0.1
  True
  """
  before = b"".join(document.text for document in train)
  after = b"".join(document.text for document in heldout)
  if not after:
    raise ValueError("heldout: expected some text, got none.")
  more = _xz_size(before + after) - _xz_size(before)
  return 8 * more / len(after)


def _xz_size(text: bytes) -> int:
  """Bytes that `xz -9` makes of a text."""
  # Preset 9 has a dictionary of 64 MiB: more than the corpora that come with
  # Python.
  return len(lzma.compress(text, preset=9))


def _bits(target: NGrams, probabilities: np.ndarray) -> float:
  """Bits per byte of a text whose n-grams have these probabilities."""
  total = -(target.counts * np.log2(probabilities)).sum()
  return float(total / target.counts.sum())


def _fit_k(part: NGrams, rest: NGrams) -> float:
  """The k under which one part of the text predicts the rest best."""
  found = evidence(part, rest.keys)
  return _best(lambda k: _bits(rest, add_k(found, k)))


def _fit_strengths(part: NGrams, rest: NGrams) -> list[float]:
  """The strengths of each order under which the 5-gram predicts best."""
  found: Evidence = evidence(part, rest.keys)
  strengths = [1.0] * len(found)
  for _ in range(_SWEEPS):
    for place in reversed(range(len(found))):
      before, after = strengths[:place], strengths[place + 1 :]

      # Defaults bind the lists now: a closure would read those of a later turn.
      def cost(k: float, before=before, after=after) -> float:
        return _bits(rest, interpolate(found, [*before, k, *after]))

      strengths[place] = _best(cost)
  return strengths


def _best(cost: Callable[[float], float]) -> float:
  """The strength of the lowest cost."""
  return min(_STRENGTHS, key=cost)
