"""Packing: documents laid end to end and cut in rows of equal length.

    stream   | a a a a | b b b |          | is the boundary token
    row 0     a a a a |                   targets: the next token in the stream

Every token of every document is a target exactly once. Rows are built on
demand from the stream, which takes two bytes a token for vocabularies below
65,536.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int, Integer, Shaped

__all__ = [
  "Packed",
  "Row",
  "pack",
]


Row = dict[str, Shaped[np.ndarray, "T"]]


@dataclass(frozen=True, eq=False)
class Packed:
  """Rows of equal length cut from a token stream; `packed[n]` is row n.

  Made by `pack`.

  Args:
    stream: the documents one after the other, each opened by a boundary.
    starts: where in the stream each document's boundary is, ascending.
    boundary: the id of the boundary token.
    length: T, tokens in a row.
    stride: how far each row begins after the one before; the targets that
      count are the last `stride` of a row, all of them in the first.

  >>> import numpy as np
  >>> packed = pack([np.array([5, 6]), np.array([7, 8, 9])], 0, length=2)
  >>> int(sum(row["weights"].sum() for row in packed)) == packed.token_count
  True
  """

  stream: Integer[np.ndarray, "tokens"]
  starts: Int[np.ndarray, "documents"]
  boundary: int
  length: int
  stride: int

  @property
  def token_count(self) -> int:
    """How many tokens the documents have, without boundaries: all targets."""
    return len(self.stream) - len(self.starts)

  @property
  def padding(self) -> Row:
    """A row of boundary tokens of weight 0, that fills up a batch."""
    boundaries = np.full(self.length, self.boundary, np.int32)
    return {
      "tokens": boundaries,
      "targets": boundaries,
      "weights": np.zeros(self.length, np.float32),
      "positions": np.arange(self.length, dtype=np.int32),
      "segment_ids": np.zeros(self.length, np.int32),
    }

  def __len__(self) -> int:
    """How many rows there are."""
    # A stream of n tokens has n - 1 pairs of a token and the next one.
    more = len(self.stream) - 1 - self.length
    return 1 + max(0, -(-more // self.stride))

  def __getitem__(self, index: SupportsIndex) -> Row:
    """Row `index`: tokens, targets, weights, positions, segment_ids, [T].

    Segments are numbered from 1 in the order of their documents in the row;
    padding is segment 0.
    """
    row = index.__index__()
    if not -len(self) <= row < len(self):
      raise IndexError(f"row {row} of {len(self)}")

    # A negative index counts from the end, as in a list.
    row %= len(self)
    places = row * self.stride + np.arange(self.length)
    pairs = len(self.stream) - 1
    real = places < pairs
    tokens = self._tokens(places, real)
    targets = self._tokens(places + 1, real)
    counts = real & (targets != self.boundary)

    # Rows overlap by length - stride: these targets counted in the row before.
    if row:
      counts[: self.length - self.stride] = False

    # Index of the document of each place, counted from 1.
    document = np.searchsorted(self.starts, places, side="right")
    # Positions begin at 0 in each row, even inside a document.
    begins = np.maximum(self.starts[document - 1], places[0])
    # Padding counts its own positions, from 0 at the end of the stream.
    begins[~real] = pairs

    return {
      "tokens": tokens,
      "targets": targets,
      "weights": counts.astype(np.float32),
      "positions": (places - begins).astype(np.int32),
      "segment_ids": np.where(real, document - document[0] + 1, 0).astype(
        np.int32
      ),
    }

  def __iter__(self) -> Iterator[Row]:
    """The rows in order."""
    return (self[row] for row in range(len(self)))

  def _tokens(self, places: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Tokens at places of the stream; boundaries past its end."""
    inside = np.where(real, places, 0)
    return np.where(real, self.stream[inside], self.boundary).astype(np.int32)


def pack(
  documents: Iterable[Integer[np.ndarray, "_"]],
  boundary: int,
  length: int,
  stride: int | None = None,
) -> Packed:
  r"""Concatenates documents and cuts the stream in rows of `length` tokens.

  Each document is preceded by the boundary, from which its first token is
  predicted. Every token of every document is a target of weight 1 exactly
  once; the boundary is a target of weight 0, for it belongs to the document
  that it opens. Positions begin at 0 with each document and each row; segments
  tell a row's documents apart, so that attention which honours them never
  sees another document. The last row is padded with weight 0.

  Args:
    documents: token ids of each document; none may be the boundary.
    boundary: the token that opens a document.
    length: T, tokens in a row.
    stride: for an honest evaluation, fewer than `length`: rows overlap, and
      each target but those of the first row has `length - stride` tokens
      before it in its row (fewer only where its document is younger). None
      is `length`: rows do not overlap.

  Returns:
    The rows, [N, T] in all.

  Raises:
    ValueError: the text is shorter than one row, `stride` is not in
      [1, length], or a document contains the boundary.

  >>> import numpy as np
  >>> row = pack([np.array([5, 6]), np.array([7, 8, 9])], 0, length=5)[0]
  >>> print(*(f"{name:12}{row[name]}" for name in row), sep="\n")
  tokens      [0 5 6 0 7]
  targets     [5 6 0 7 8]
  weights     [1. 1. 0. 1. 1.]
  positions   [0 1 2 0 1]
  segment_ids [1 1 1 2 2]
  """
  stride = length if stride is None else stride
  if length < 1 or not 1 <= stride <= length:
    raise ValueError(
      f"stride: expected 1 <= stride <= length, got stride={stride} and"
      f" length={length}; None is no overlap."
    )

  stream, starts = _concatenate(documents, boundary)
  count = len(stream) - len(starts)
  if count < length:
    raise ValueError(
      f"documents: {count} tokens are fewer than one sequence of"
      f" length={length}; use a longer text, a smaller length, or (for"
      " held-out text) a larger heldout_fraction."
    )

  return Packed(stream, starts, boundary, length, stride)


def _concatenate(
  documents: Iterable[np.ndarray], boundary: int
) -> tuple[np.ndarray, np.ndarray]:
  """The stream of boundaries and tokens, and the start of each document."""
  # uint16 until a document needs int32: concatenation promotes the whole
  # stream.
  parts: list[np.ndarray] = [np.zeros(0, np.uint16)]
  starts: list[int] = []
  size = 0

  for number, document in enumerate(documents):
    ids = np.asarray(document)
    _check_ids(ids, number, boundary)
    # Two bytes a token where they fit: a text is held in memory as this.
    top = max(boundary, ids.max(initial=0))
    part = np.empty(len(ids) + 1, np.uint16 if top < 1 << 16 else np.int32)
    part[0], part[1:] = boundary, ids
    starts.append(size)
    parts.append(part)
    size += len(part)

  return np.concatenate(parts), np.array(starts, np.int64)


def _check_ids(ids: np.ndarray, number: int, boundary: int) -> None:
  """Refuses negative ids and the boundary in a document."""
  if np.any(ids == boundary):
    raise ValueError(
      f"documents: number {number} contains the boundary token {boundary},"
      " which must open documents only; choose another id for it."
    )

  if ids.min(initial=0) < 0:
    raise ValueError(
      f"documents: number {number} contains the id {ids.min()}; expected"
      " token ids of 0 and more."
    )
