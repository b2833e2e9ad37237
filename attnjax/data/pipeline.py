"""Batches of rows by step: their order is a pure function of the step.

A run that is resumed needs the number of its step and nothing else: no
iterator has a state to save, on however many processes.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex, overload

import numpy as np

from attnjax.data.examples import Batch, Examples, stacked
from attnjax.data.packing import Packed

__all__ = [
  "EvaluationBatches",
  "TrainBatches",
  "evaluation_batches",
  "train_batches",
]


@dataclass(frozen=True, eq=False)
class TrainBatches:
  """Shuffled rows without end: `batches(step)` is the batch of that step.

  Made by `train_batches`, which checks the arguments.

  >>> import numpy as np
  >>> from attnjax.data import Examples
  >>> batches = TrainBatches(Examples({"x": np.arange(6)}), 3, seed=0)
  >>> sorted(np.concatenate([batches(s)["x"] for s in (8, 9)]).tolist())
  [0, 1, 2, 3, 4, 5]
  """

  source: Packed | Examples
  batch_size: int
  seed: int

  def __call__(self, step: SupportsIndex) -> Batch:
    """The batch of one step, arrays [B, ...]; steps count from 0."""
    return self.rows(step, 0, self.batch_size)

  def rows(self, step: SupportsIndex, start: int, stop: int) -> Batch:
    """Rows `start` to `stop - 1` of a batch, for one process of several."""
    number = step.__index__()
    if number < 0:
      raise ValueError(f"step: expected 0 or more, got {number}.")

    size = len(self.source)
    if not size:
      raise ValueError("examples: there is none to make a batch of")

    # Rows are numbered through all epochs: a batch may begin in one epoch and
    # end in the next, and a small source gives several epochs to one batch.
    places = number * self.batch_size + np.arange(start, stop)
    epochs = places // size
    order = [self._order(int(e)) for e in range(epochs[0], epochs[-1] + 1)]
    chosen = np.stack(order)[epochs - epochs[0], places % size]

    if isinstance(self.source, Examples):
      return self.source[chosen]
    return stacked([self.source[row] for row in chosen])

  # A cache of this object alone: lru_cache on a method is shared by all
  # objects, and keeps them in memory.
  @functools.cached_property
  def _order(self) -> Any:
    """Epoch -> permutation of the rows."""

    # Two, for a batch may lie in two epochs; more would only fill memory.
    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
      # A seed of two numbers: epoch 1 of seed 7 is not epoch 0 of seed 8.
      draws = np.random.default_rng((self.seed, epoch))
      return draws.permutation(len(self.source))

    return order

  def __getstate__(self) -> dict[str, Any]:
    """Leaves the permutations out of a pickle: they are computed again."""
    state = self.__dict__.copy()
    state.pop("_order", None)
    return state


def train_batches(
  packed: Packed | Examples, batch_size: int, seed: int
) -> TrainBatches:
  """Training batches by step; each epoch is shuffled anew.

  Every epoch has each row once, and every batch has `batch_size` rows: one may
  begin in one epoch and end in the next.

  Args:
    packed: the rows: of a text, or examples.
    batch_size: B, rows in a batch.
    seed: of the shuffle, in [0, 2**32).

  Returns:
    A function of the step, a pure one: `batches(step)` is a dict of arrays: of
    a text tokens, targets, weights, positions and segment_ids, each [B, T]; of
    examples those that they have.

  Raises:
    ValueError: `batch_size` or `seed` is out of its range.

  >>> import numpy as np
  >>> from attnjax.data import pack
  >>> packed = pack([np.arange(1, 40)], boundary=0, length=5)
  >>> batches = train_batches(packed, batch_size=2, seed=0)
  >>> batches(1000)["tokens"].shape
  (2, 5)
  >>> bool((batches(3)["tokens"] == batches(3)["tokens"]).all())
  True
  """
  _check_batch_size(batch_size)
  if not 0 <= seed < 1 << 32:
    raise ValueError(f"seed: expected a number in [0, 2**32), got {seed}.")
  return TrainBatches(packed, batch_size, seed)


@dataclass(frozen=True, eq=False)
class EvaluationBatches(Sequence[Batch]):
  """Every row once, in order; made by `evaluation_batches`.

  >>> import numpy as np
  >>> from attnjax.data import pack
  >>> packed = pack([np.arange(1, 9)], 0, length=2)
  >>> batches = EvaluationBatches(packed, batch_size=3)
  >>> len(batches), batches[1]["tokens"].shape
  (2, (3, 2))
  """

  packed: Packed | Examples
  batch_size: int

  def __len__(self) -> int:
    """How many batches there are."""
    return -(-len(self.packed) // self.batch_size)

  @overload
  def __getitem__(self, index: SupportsIndex) -> Batch: ...

  @overload
  def __getitem__(self, index: slice) -> list[Batch]: ...

  def __getitem__(self, index: SupportsIndex | slice) -> Batch | list[Batch]:
    """Batch `index`, arrays [B, T]; or the batches of a slice."""
    if isinstance(index, slice):
      return [self[number] for number in range(*index.indices(len(self)))]

    number = index.__index__()
    if not -len(self) <= number < len(self):
      raise IndexError(f"batch {number} of {len(self)}")

    # A negative index counts from the end, as in a list.
    start = number % len(self) * self.batch_size
    stop = min(start + self.batch_size, len(self.packed))
    rows = [self.packed[row] for row in range(start, stop)]
    rows += [self.packed.padding] * (self.batch_size - len(rows))

    return stacked(rows)

  def __iter__(self) -> Iterator[Batch]:
    """The batches in order."""
    return (self[number] for number in range(len(self)))


def evaluation_batches(
  packed: Packed | Examples, batch_size: int
) -> EvaluationBatches:
  """Evaluation batches: each row exactly once, in order.

  The last batch is filled up with rows of weight 0, so that all batches have
  one shape and the evaluation is compiled once.

  Args:
    packed: the rows: of a text, or examples.
    batch_size: B, rows in a batch.

  Returns:
    A sequence of dicts of arrays, as those of `train_batches`.

  Raises:
    ValueError: `batch_size` is less than 1.

  >>> import numpy as np
  >>> from attnjax.data import pack
  >>> packed = pack([np.arange(1, 40)], boundary=0, length=5)
  >>> batches = evaluation_batches(packed, batch_size=3)
  >>> len(packed), len(batches), sum(b["weights"].sum() for b in batches)
  (8, 3, np.float32(39.0))
  """
  _check_batch_size(batch_size)
  return EvaluationBatches(packed, batch_size)


def _check_batch_size(batch_size: int) -> None:
  """Refuses a batch size below 1."""
  if batch_size < 1:
    raise ValueError(f"batch_size: expected 1 or more, got {batch_size}.")
