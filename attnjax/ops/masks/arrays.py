"""The arrays that a mask holds: those that go by index, and tables."""

from collections.abc import Callable
from typing import Any

import jax

from attnjax.ops.masks.algebra import Indexed, Mask
from attnjax.ops.masks.table import Table

__all__ = ["holds_arrays", "is_open", "realigned"]


def holds_arrays(mask: Mask | None) -> bool:
  """Does a mask hold an array that goes by index?

  >>> import numpy as np
  >>> from attnjax import masks
  >>> holds_arrays(masks.causal() & np.ones((2, 2), bool))
  True
  """
  return any(isinstance(x, Indexed) for x in jax.tree.leaves(mask, is_leaf=_is))


def realigned(
  change: Callable,
  mask: Any,
  otherwise: Callable | None = None,
  tables: Callable | None = None,
):
  """A mask with its arrays that go by index changed.

  Args:
    change: of each such array.
    mask: any; None stays None.
    otherwise: of each other array that it captures; None leaves them.
    tables: of each `Table`; None leaves them to `otherwise`.

  >>> import numpy as np
  >>> from attnjax import masks
  >>> mask = masks.causal() & np.ones((2, 3), bool)
  >>> realigned(lambda x: x.shape, mask).right.array
  (2, 3)
  """

  def one(x):
    if isinstance(x, Indexed):
      return Indexed(change(x.array))
    if isinstance(x, Table) and tables is not None:
      return tables(x)
    return x if otherwise is None else otherwise(x)

  found = Indexed if tables is None else (Indexed, Table)
  return jax.tree.map(one, mask, is_leaf=lambda x: isinstance(x, found))


def is_open(mask: Mask | None) -> bool:
  """Is there a table in it that is not known to cover the call?

  >>> from attnjax import masks
  >>> is_open(masks.causal()), is_open(masks.segments([0, 1]))
  (False, True)
  """
  leaves = jax.tree.leaves(mask, is_leaf=lambda x: isinstance(x, Table))
  return any(isinstance(x, Table) and not x.covers for x in leaves)


def _is(x) -> bool:
  return isinstance(x, Indexed)
