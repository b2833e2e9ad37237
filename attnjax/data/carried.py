"""Batches whose rows go on where those of the batch before ended.

    lane | step 0      step 1      step 2      step 3
    0    | a[0:T] *    a[T:2T]     a[2T:]      c[0:T] *
    1    | b[0:T] *    b[T:]       d[0:T] *    d[T:2T]        * begins

A lane is a place in the batch. It reads a document from its beginning to its
end, row after row, and then begins another one: no row has two documents, and
a model that keeps a state from step to step drops it where a row `begins`.
"""

import bisect
import functools
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np

from attnjax.data.examples import Batch, stacked
from attnjax.data.packing import Packed

__all__ = ["CarriedBatches", "carried_batches"]


@dataclass
class _Lanes:
  """Which document each lane begins at which step, as far as was asked.

  Args:
    free: (step at which a lane ends its document, lane), a heap.
    starts: of each lane, the steps at which it begins a document.
    chosen: of each lane, the documents.
  """

  free: list[tuple[int, int]]
  starts: list[list[int]]
  chosen: list[list[int]]


@dataclass(frozen=True, eq=False)
class CarriedBatches:
  """Documents read row by row: `batches(step)`; made by `carried_batches`.

  >>> import numpy as np
  >>> from attnjax.data import pack
  >>> packed = pack([np.arange(1, 8), np.arange(1, 4)], 0, length=3)
  >>> batches = CarriedBatches(packed, 1, seed=0)
  >>> sum(batches(step)["weights"].sum() for step in range(4))
  np.float32(10.0)
  """

  source: Packed
  batch_size: int
  seed: int

  def __call__(self, step: SupportsIndex) -> Batch:
    """The batch of one step; steps count from 0."""
    return self.rows(step, 0, self.batch_size)

  def rows(self, step: SupportsIndex, start: int, stop: int) -> Batch:
    """Lanes `start` to `stop - 1` of a batch, for one process of several."""
    number = step.__index__()
    if number < 0:
      raise ValueError(f"step: expected 0 or more, got {number}.")

    lanes = self._until(number)
    rows = []
    for lane in range(start, stop):
      turn = bisect.bisect_right(lanes.starts[lane], number) - 1
      row = number - lanes.starts[lane][turn]
      rows.append(self._row(lanes.chosen[lane][turn], row))
    return stacked(rows)

  def _row(self, document: int, row: int) -> dict[str, Any]:
    """One row of a document; past its end are boundaries of weight 0."""
    length, boundary = self.source.length, self.source.boundary
    first, end = self._ends[document : document + 2]
    begin = first + row * length
    found = self.source.stream[begin : min(begin + length + 1, end)]

    padded = np.full(length + 1, boundary, np.int32)
    padded[: len(found)] = found
    real = np.arange(1, length + 1) < len(found)
    return {
      "tokens": padded[:-1],
      "targets": padded[1:],
      "weights": real.astype(np.float32),
      "begins": np.bool_(row == 0),
    }

  def _until(self, step: int) -> _Lanes:
    """The lanes, each with what it reads at a step and before."""
    lanes = self._lanes
    while lanes.free[0][0] <= step:
      begins, lane = heapq.heappop(lanes.free)
      document = next(self._order)
      lanes.starts[lane].append(begins)
      lanes.chosen[lane].append(document)
      heapq.heappush(lanes.free, (begins + self._sizes[document], lane))
    return lanes

  @functools.cached_property
  def _ends(self) -> list[int]:
    """Where in the stream each document begins, and where the last one ends."""
    return [*self.source.starts.tolist(), len(self.source.stream)]

  @functools.cached_property
  def _sizes(self) -> list[int]:
    """Rows of each document: its tokens without the boundary, cut."""
    counts = np.diff(self._ends) - 1
    return (-(-counts // self.source.length)).tolist()

  @functools.cached_property
  def _lanes(self) -> _Lanes:
    """All lanes before their first document."""
    places = range(self.batch_size)
    starts: list[list[int]] = [[] for _ in places]
    chosen: list[list[int]] = [[] for _ in places]
    return _Lanes([(0, lane) for lane in places], starts, chosen)

  @functools.cached_property
  def _order(self) -> Iterator[int]:
    """Documents without end, each once an epoch; those of no token never."""

    def order() -> Iterator[int]:
      epoch = 0
      while True:
        # A seed of two numbers: epoch 1 of seed 7 is not epoch 0 of seed 8.
        draws = np.random.default_rng((self.seed, epoch))
        found = draws.permutation(len(self._sizes)).tolist()
        yield from (number for number in found if self._sizes[number])
        epoch += 1

    return order()

  def __getstate__(self) -> dict[str, Any]:
    """Leaves out of a pickle what is computed again."""
    kept = ("source", "batch_size", "seed")
    return {name: self.__dict__[name] for name in kept}


def carried_batches(
  packed: Packed, batch_size: int, seed: int
) -> CarriedBatches:
  """Batches in which each row goes on where that of the step before ended.

  Row b of the batch of step n + 1 is the next piece of the document of row b
  of step n, or the first piece of another document, and `begins` says which.
  A document is read from its beginning to its end by one lane; the lane whose
  document ends first takes the next one. Each epoch has every document once,
  in an order of its own. The last piece of a document is padded with weight 0.

  A model that keeps no state from row to row may read them too; one that does
  must drop it where a row begins, see `models.MemoryLM.restart`.

  Args:
    packed: the documents; its `length` is that of a piece, in tokens.
    batch_size: B, lanes.
    seed: of the order of the documents, in [0, 2**32).

  Returns:
    A function of the step, a pure one: `batches(step)` has tokens, targets and
    weights, each [B, T], and `begins`, bool [B].

  Raises:
    ValueError: `batch_size` or `seed` is out of its range, or rows of the text
      overlap.

  >>> import numpy as np
  >>> from attnjax.data import pack
  >>> packed = pack([np.arange(1, 8), np.arange(1, 4)], 0, length=3)
  >>> batches = carried_batches(packed, batch_size=2, seed=0)
  >>> for step in range(2):
  ...   print(*batches(step)["tokens"], batches(step)["begins"])
  [0 1 2] [0 1 2] [ True  True]
  [3 4 5] [0 1 2] [False  True]
  """
  if batch_size < 1:
    raise ValueError(f"batch_size: expected 1 or more, got {batch_size}.")
  if not 0 <= seed < 1 << 32:
    raise ValueError(f"seed: expected a number in [0, 2**32), got {seed}.")
  if packed.stride != packed.length:
    raise ValueError(
      f"packed: rows that go on must not overlap, got a stride of"
      f" {packed.stride} and a length of {packed.length}; pack without a stride"
    )
  return CarriedBatches(packed, batch_size, seed)
