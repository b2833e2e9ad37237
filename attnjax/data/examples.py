"""Arrays in memory whose rows are examples, and their batches by step."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np

Batch = dict[str, Any]  # of arrays; of one example, of its numbers too

__all__ = ["ExampleBatches", "Examples"]


@dataclass(frozen=True, eq=False)
class Examples:
  """Arrays that share their first axis: one row of each is an example.

  Args:
    arrays: by name. "weights" says how much an example counts, or each of its
      targets; without it every example counts 1.

  Raises:
    ValueError: there is no array, or they do not share their first axis.

  >>> import numpy as np
  >>> examples = Examples({"image": np.zeros((5, 2, 2)), "label": np.arange(5)})
  >>> len(examples), sorted(examples[3])
  (5, ['image', 'label', 'weights'])
  """

  arrays: Mapping[str, np.ndarray]

  def __post_init__(self):
    """Checks the first axis, and adds the weights."""
    shapes = {name: np.shape(x) for name, x in self.arrays.items()}
    sizes = {shape[0] if shape else -1 for shape in shapes.values()}
    if len(sizes) != 1 or -1 in sizes:
      raise ValueError(
        f"arrays: expected a first axis that all share, got {shapes}"
      )

    arrays = {name: np.asarray(x) for name, x in self.arrays.items()}
    if "weights" not in arrays:
      arrays["weights"] = np.ones(sizes.pop(), np.float32)

    object.__setattr__(self, "arrays", arrays)

  def __len__(self) -> int:
    """How many examples there are."""
    return len(self.arrays["weights"])

  def __getitem__(self, index: SupportsIndex | slice | np.ndarray) -> Batch:
    """One example, or those of a slice or of an array of indices."""
    return {name: x[index] for name, x in self.arrays.items()}

  @property
  def padding(self) -> Batch:
    """An example that counts for nothing: all zeros, its weight too."""
    return {name: np.zeros_like(x[0]) for name, x in self.arrays.items()}


@dataclass(frozen=True, eq=False)
class ExampleBatches:
  """Shuffled examples for ever: `batches(step)` is the batch of that step.

  Within an epoch each example comes once, and each epoch is shuffled anew. A
  batch may begin in one epoch and end in the next. Made by `train_batches`.

  >>> import numpy as np
  >>> batches = ExampleBatches(Examples({"x": np.arange(6)}), 3, seed=0)
  >>> sorted(np.concatenate([batches(s)["x"] for s in (8, 9)]).tolist())
  [0, 1, 2, 3, 4, 5]
  """

  examples: Examples
  batch_size: int
  seed: int

  def __call__(self, step: SupportsIndex) -> Batch:
    """The batch of one step; steps count from 0."""
    return self.rows(step, 0, self.batch_size)

  def rows(self, step: SupportsIndex, start: int, stop: int) -> Batch:
    """Some rows of the batch of one step: what one process of many reads."""
    number = step.__index__()
    if number < 0:
      raise ValueError(f"step: expected 0 or more, got {number}.")

    size = len(self.examples)
    if not size:
      raise ValueError("examples: there is none to make a batch of")

    places = number * self.batch_size + np.arange(start, stop)
    epochs = places // size
    order = [self._order(int(e)) for e in range(epochs[0], epochs[-1] + 1)]

    return self.examples[np.stack(order)[epochs - epochs[0], places % size]]

  @functools.cached_property
  def _order(self) -> Any:
    """Epoch -> a permutation; the last few are kept."""

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
      draws = np.random.default_rng((self.seed, epoch))
      return draws.permutation(len(self.examples))

    return order

  def __getstate__(self) -> dict[str, Any]:
    """Leaves the permutations out of a pickle: they are made again."""
    state = self.__dict__.copy()
    state.pop("_order", None)
    return state


def stacked(rows: Sequence[Batch]) -> Batch:
  """Rows as one batch.

  >>> import numpy as np
  >>> stacked([{"x": np.ones(2)}, {"x": np.zeros(2)}])["x"].shape
  (2, 2)
  """
  return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
