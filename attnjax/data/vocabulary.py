"""Vocabularies of symbols, and padded arrays of pairs of sequences."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np

__all__ = [
  "END",
  "PAD",
  "SPECIALS",
  "START",
  "Vocabulary",
  "encode_pairs",
]


# Padding is 0, so that arrays of zeros are padded.
PAD, START, END = 0, 1, 2
SPECIALS = ("<pad>", "<s>", "</s>")


@dataclass(frozen=True)
class Vocabulary:
  """A closed set of symbols; their ids follow those of the three special ones.

  Args:
    symbols: without repeats and without the special ones; their order decides
      the ids, which begin at 3.

  Raises:
    ValueError: a symbol comes twice or is a special one.

  >>> letters = Vocabulary(tuple("abc"))
  >>> letters.encode("cab"), letters.decode([5, 3, 4, 2, 0])
  ([5, 3, 4], ['c', 'a', 'b'])
  """

  symbols: tuple[str, ...]

  def __post_init__(self):
    """Checks that every symbol has one id."""
    if len({*self.symbols, *SPECIALS}) < len(self.symbols) + len(SPECIALS):
      raise ValueError(
        "symbols: expected each once and none of"
        f" {SPECIALS}, got {self.symbols!r:.200}"
      )

  def __len__(self) -> int:
    """How many ids there are, the special ones included."""
    return len(self.symbols) + len(SPECIALS)

  @functools.cached_property
  def _ids(self) -> dict[str, int]:
    """The id of each symbol."""
    return {s: n for n, s in enumerate(self.symbols, start=len(SPECIALS))}

  def encode(self, sequence: Iterable[str]) -> list[int]:
    """The ids of some symbols; ValueError for one that is not in here."""
    sequence = list(sequence)
    try:
      return [self._ids[symbol] for symbol in sequence]
    except KeyError as error:
      raise ValueError(
        f"sequence: {error.args[0]!r} in {''.join(sequence)!r:.80} is none of"
        f" the {len(self.symbols)} symbols of the vocabulary; leave such items"
        " out or make the vocabulary with it."
      ) from None

  def decode(self, ids: Iterable[SupportsIndex]) -> list[str]:
    """The symbols up to the first end; padding and starts are left out.

    Raises ValueError for an id outside the vocabulary.
    """
    found = []
    for number in (place.__index__() for place in ids):
      if number == END:
        break
      if not 0 <= number < len(self):
        raise ValueError(
          f"ids: expected numbers in [0, {len(self)}), got {number}."
        )
      if number >= len(SPECIALS):
        found.append(self.symbols[number - len(SPECIALS)])

    return found


def encode_pairs(
  pairs: Sequence[tuple[Sequence[str], Sequence[str]]],
  source: Vocabulary,
  target: Vocabulary,
  *,
  source_length: int | None = None,
  target_length: int | None = None,
) -> dict[str, np.ndarray]:
  """Pairs of sequences as arrays, padded at the end with id 0.

  `inputs` and `targets` of the decoder are the same symbols: `inputs` begin
  with the start symbol, `targets` finish with the end symbol.

  Args:
    pairs: N of (source symbols, target symbols), none of them empty.
    source: the vocabulary of the first ones.
    target: the vocabulary of the second ones.
    source_length: S, places for a source; None: as many as the longest needs.
    target_length: T, places for a target and its end; None: likewise.

  Returns:
    source int32 [N, S], source_lengths int32 [N], inputs int32 [N, T], targets
    int32 [N, T], target_lengths int32 [N] (the end counts), and weights
    float32 [N, T]: 1 where there is a target, 0 on padding.

  Raises:
    ValueError: there is no pair, a sequence is empty or longer than its
      length, or a symbol is not in its vocabulary.

  >>> letters = Vocabulary(tuple("abc"))
  >>> arrays = encode_pairs([("ab", "c"), ("c", "ab")], letters, letters)
  >>> arrays["inputs"].tolist(), arrays["targets"].tolist()
  ([[1, 5, 0], [1, 3, 4]], [[5, 2, 0], [3, 4, 2]])
  """
  if not pairs:
    raise ValueError("pairs: expected one pair or more, got none.")

  sources = [source.encode(first) for first, _ in pairs]
  targets = [target.encode(second) for _, second in pairs]
  ends = [[*ids, END] for ids in targets]
  # A target row holds at least its end or start: with it alone it is empty.
  said, lengths = _padded("target", ends, target_length, empty=1)
  starts = [[START, *ids] for ids in targets]
  heard, _ = _padded("target", starts, said.shape[1], empty=1)
  source_ids, source_lengths = _padded("source", sources, source_length)
  real = np.arange(said.shape[1]) < lengths[:, None]

  return {
    "source": source_ids,
    "source_lengths": source_lengths,
    "inputs": heard,
    "targets": said,
    "target_lengths": lengths,
    "weights": real.astype(np.float32),
  }


def _padded(
  name: str, rows: list[list[int]], length: int | None, empty: int = 0
) -> tuple[np.ndarray, np.ndarray]:
  """Rows of ids as one array, and their lengths."""
  lengths = np.array([len(row) for row in rows], np.int32)
  if lengths.min() <= empty:
    raise ValueError(
      f"pairs: the {name} of pair {int(lengths.argmin())} is empty; expected"
      " one symbol or more. Leave such pairs out."
    )

  longest = int(lengths.max())
  if length is not None and longest > length:
    raise ValueError(
      f"{name}_length={length}: pair {int(lengths.argmax())} needs {longest}"
      " places. Leave longer pairs out, or give more places (None: enough)."
    )

  padded = np.full((len(rows), length or longest), PAD, np.int32)
  for place, row in zip(padded, rows, strict=True):
    place[: len(row)] = row

  return padded, lengths
