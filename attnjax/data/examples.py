"""Arrays in memory whose rows are examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np

from attnjax.moved import forward_names

Batch = dict[str, Any]  # of arrays; of one example, of its numbers too

__all__ = ["Batch", "Examples", "stacked"]


# Compared by identity: == of arrays is an array and not a bool.
@dataclass(frozen=True, eq=False)
class Examples:
  """Arrays that share their first axis: one row of each is an example.

  Args:
    arrays: by name. "weights" is the weight of each example, or of each of its
      targets; without it every weight is 1.

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

    # The dataclass is frozen; only here are its arrays completed.
    object.__setattr__(self, "arrays", arrays)

  def __len__(self) -> int:
    """How many examples there are."""
    return len(self.arrays["weights"])

  def __getitem__(self, index: SupportsIndex | slice | np.ndarray) -> Batch:
    """One example, or those of a slice or of an array of indices."""
    return {name: x[index] for name, x in self.arrays.items()}

  @property
  def padding(self) -> Batch:
    """A row of zeros, of weight 0, that fills up a batch."""
    return {name: np.zeros_like(x[0]) for name, x in self.arrays.items()}


def stacked(rows: Sequence[Batch]) -> Batch:
  """Stacks rows to one batch.

  >>> import numpy as np
  >>> stacked([{"x": np.ones(2)}, {"x": np.zeros(2)}])["x"].shape
  (2, 2)
  """
  return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
