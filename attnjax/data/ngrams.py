"""Byte n-gram counts, and smoothed probabilities from them.

A context ends at the start of its document: before it are boundary symbols,
which no byte equals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt64

from attnjax.data.corpora import Document

__all__ = [
  "LONGEST",
  "Column",
  "Evidence",
  "NGrams",
  "add_k",
  "byte_keys",
  "evidence",
  "interpolate",
  "ngrams",
  "shorten",
]


# A symbol is a byte or the boundary, nine bits; the newest is the lowest. Seven
# of them fit into the uint64 of a key.
_BITS = 9
_BOUNDARY = 256
LONGEST = 64 // _BITS

# For each query: how often its n-gram and its context came in a text.
Column = Float64[np.ndarray, "queries"]
Evidence = list[tuple[Column, Column]]


@dataclass(frozen=True, eq=False)
class NGrams:
  """The distinct n-grams of a text, ascending, and their counts.

  Args:
    keys: n-grams of nine bits a symbol, the newest symbol in the lowest bits.
    counts: how often each came.
    order: n, the newest symbol included.
  """

  keys: UInt64[np.ndarray, "ngrams"]
  counts: Float64[np.ndarray, "ngrams"]
  order: int


def ngrams(documents: Sequence[Document], order: int) -> NGrams:
  """Counts the n-grams that end at each byte of some documents.

  Args:
    documents: the text; every byte of it is the newest symbol of one n-gram.
    order: n, in [1, 7].

  Returns:
    The distinct n-grams and their counts, which sum to the bytes of the text.

  Raises:
    ValueError: the order is out of its range.

  >>> from attnjax.data.corpora import Document
  >>> table = ngrams([Document("a", b"aab")], order=2)
  >>> [(int(key) >> 9, chr(int(key) & 511)) for key in table.keys]
  [(97, 'a'), (97, 'b'), (256, 'a')]
  """
  unique, counts = np.unique(byte_keys(documents, order), return_counts=True)
  # float64 is exact for counts up to 2^53.
  return NGrams(unique, counts.astype(np.float64), order)


def byte_keys(
  documents: Sequence[Document], order: int
) -> UInt64[np.ndarray, "bytes"]:
  """The n-gram that ends at each byte of some documents, as a key.

  Args:
    documents: as for `ngrams`.
    order: n, in [1, 7].

  Returns:
    A key a byte, in the order of the text: `queries` of `evidence`.

  Raises:
    ValueError: the order is out of its range.

  >>> from attnjax.data.corpora import Document
  >>> keys = byte_keys([Document("a", b"aab")], order=1)
  >>> [chr(int(key)) for key in keys]
  ['a', 'a', 'b']
  """
  if not 1 <= order <= LONGEST:
    raise ValueError(f"order: expected 1 to {LONGEST}, got {order}.")

  # Before each document, so that no context reaches into another one.
  gap = np.full(order - 1, _BOUNDARY, np.uint16)
  parts = [gap]

  for document in documents:
    parts += [np.frombuffer(document.text, np.uint8).astype(np.uint16), gap]

  stream = np.concatenate(parts)
  newest = stream[order - 1 :]
  keys = np.zeros(len(newest), np.uint64)

  for back in range(order):
    symbols = stream[order - 1 - back : len(stream) - back]
    keys |= symbols.astype(np.uint64) << np.uint64(_BITS * back)

  # A boundary is part of contexts, and is never predicted itself.
  return keys[newest != _BOUNDARY]


def shorten(table: NGrams, order: int) -> NGrams:
  """The counts of shorter n-grams, from those of longer ones.

  Args:
    table: n-grams of an order at least as high.
    order: how many of the newest symbols to keep.

  Returns:
    The counts over all the symbols that came before.

  >>> from attnjax.data.corpora import Document
  >>> table = ngrams([Document("a", b"aab")], order=2)
  >>> shorten(table, 1).counts
  array([2., 1.])
  """
  # The newest symbols are the lowest bits: a mask drops the oldest ones.
  keep = np.uint64((1 << _BITS * order) - 1)
  return NGrams(*_total(table.keys & keep, table.counts), order)


def evidence(table: NGrams, queries: UInt64[np.ndarray, "queries"]) -> Evidence:
  """Counts of some n-grams and of their contexts, for each order from 1 up.

  Args:
    table: the text's n-grams.
    queries: n-grams of the same order, of any text.

  Returns:
    For n = 1, 2, ...: how often the query's last n symbols came, and how often
    their context (all of them but the newest) did.
  """
  found = []
  for order in range(1, table.order + 1):
    shorter = shorten(table, order)
    keys = queries & np.uint64((1 << _BITS * order) - 1)
    contexts = _total(shorter.keys >> np.uint64(_BITS), shorter.counts)
    found.append(
      (
        _lookup(shorter.keys, shorter.counts, keys),
        _lookup(*contexts, keys >> np.uint64(_BITS)),
      )
    )

  return found


def add_k(evidence: Evidence, k: float) -> Column:
  """Probability of each n-gram's newest byte, with add-k smoothing.

      p(x | context) = (count(context, x) + k) / (count(context) + 256 k)

  Args:
    evidence: counts in the training text, from `evidence`; the highest order
      is used.
    k: pseudo-count of each byte, more than 0.

  Returns:
    Probabilities, which sum to 1 over the 256 bytes of a context.

  Reference: G. J. Lidstone, "Note on the general case of the Bayes-Laplace
  formula for inductive or a posteriori probabilities", 1920.
  """
  # 256 bytes and no boundary, which is never predicted.
  count, total = evidence[-1]
  return (count + k) / (total + 256 * k)


def interpolate(evidence: Evidence, strengths: Sequence[float]) -> Column:
  """Probability of each n-gram's newest byte, interpolated over orders.

      p_n = (count_n + k_n p_{n-1}) / (total_n + k_n),  p_0 = 1 / 256

  Args:
    evidence: counts in the training text, from `evidence`.
    strengths: k_1, k_2, ...: how many observations the shorter context is
      worth, more than 0.

  Returns:
    Probabilities, which sum to 1 over the 256 bytes of a context.

  Reference: David J. C. MacKay and Linda C. Bauman Peto, "A hierarchical
  Dirichlet language model", 1995, Natural Language Engineering 1(3).
  """
  probability = np.full(len(evidence[0][0]), 1 / 256)
  for (count, total), k in zip(evidence, strengths, strict=True):
    probability = (count + k * probability) / (total + k)
  return probability


def _total(
  keys: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Distinct keys, ascending, and the sum of the counts of each."""
  unique, inverse = np.unique(keys, return_inverse=True)
  # Of no keys bincount returns int64, whatever the dtype of its weights.
  totals = np.bincount(inverse, counts, len(unique))
  return unique, totals.astype(np.float64)


def _lookup(
  keys: np.ndarray, counts: np.ndarray, queries: np.ndarray
) -> np.ndarray:
  """The count of each query, 0 where it never came."""
  if not len(keys):
    return np.zeros(len(queries))
  # Clipped, for a query above every key gets the place behind the last.
  places = np.searchsorted(keys, queries).clip(max=len(keys) - 1)
  return np.where(keys[places] == queries, counts[places], 0.0)
