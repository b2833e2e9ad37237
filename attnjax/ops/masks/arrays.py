"""Fitting the captured arrays of a mask to the arrays of a call.

Boolean arrays are aligned by index. Tables are looked up by position, and have
no entry for a position outside of them. Such a pair is an error, unless another
mask hides it whatever the entry would be: an empty slot of a cache, or padding.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.grid import Grid
from attnjax.ops.masks.algebra import Indexed
from attnjax.ops.masks.protocol import Mask
from attnjax.ops.masks.tables import Table
from attnjax.ops.value_checks import value_of

__all__ = [
  "covered",
  "covering",
  "holds_arrays",
  "is_open",
  "on_one_axis",
  "realigned",
]


def holds_arrays(mask: Mask | None) -> bool:
  """Whether a mask holds an array that is looked up by index.

  >>> import numpy as np
  >>> from attnjax import masks
  >>> holds_arrays(masks.causal() & np.ones((2, 2), bool))
  True
  """
  leaves = jax.tree.leaves(mask, is_leaf=lambda x: isinstance(x, Indexed))
  return any(isinstance(x, Indexed) for x in leaves)


def realigned(
  change: Callable,
  mask: Any,
  otherwise: Callable | None = None,
  tables: Callable | None = None,
):
  """Maps a function over the arrays of a mask that are looked up by index.

  Args:
    change: applied to each such array.
    mask: any; None stays None.
    otherwise: applied to each other captured array; None leaves them.
    tables: applied to each `Table`; None leaves them to `otherwise`.

  >>> import numpy as np
  >>> from attnjax import masks
  >>> mask = masks.causal() & np.ones((2, 3), bool)
  >>> realigned(lambda x: x.shape, mask).right.array
  (2, 3)
  """

  def of_leaf(x):
    if isinstance(x, Indexed):
      return Indexed(change(x.array))
    if isinstance(x, Table) and tables is not None:
      return tables(x)
    return x if otherwise is None else otherwise(x)

  found = Indexed if tables is None else (Indexed, Table)
  return jax.tree.map(of_leaf, mask, is_leaf=lambda x: isinstance(x, found))


def is_open(mask: Mask | None) -> bool:
  """Whether a mask holds a table that is not known to cover the call.

  >>> from attnjax import masks
  >>> is_open(masks.causal()), is_open(masks.segments([0, 1]))
  (False, True)
  """
  leaves = jax.tree.leaves(mask, is_leaf=lambda x: isinstance(x, Table))
  return any(isinstance(x, Table) and not x.covers for x in leaves)


_PAIRS = 2**22  # evaluated at once, 4 MiB of booleans


def covering(
  mask: Mask, batch: tuple[int, ...], shape: tuple, positions: tuple, segments
) -> Mask:
  """Marks the tables of a mask that are known to cover the call.

  Args:
    mask: any, its boolean arrays ``#B #H #T #S``.
    batch: the batch axes.
    shape: ``H T S``.
    positions: of queries, int ``*#B T``, and of keys; None is the index.
    segments: ids of the call, or None. Pairs that they hide are found at run
      time only.

  Raises:
    ValueError: if it is known that a table has no entry for a pair that nothing
      else hides.
  """
  if not is_open(mask):
    return mask

  # Bounds of the positions settle nearly every call without looking at pairs.
  values = [None if x is None else value_of(x) for x in positions]
  told = [
    x is None or v is not None for x, v in zip(positions, values, strict=True)
  ]
  bounds = [
    _least_and_greatest(size, value) if known else None
    for size, value, known in zip(shape[1:], values, told, strict=True)
  ]

  tables = [x for x in _leaves(mask) if isinstance(x, Table)]
  found = [_table_covers(table, bounds) for table in tables]
  # None: a position is traced, and rows outside of a table become NaN at run
  # time.
  if False not in found:
    return mask if None in found else _mark_all(mask)

  # A position is outside of a table: that is an error only if no other rule
  # hides the pair, so every pair is looked at, if all is known.
  known = _with_known_arrays(mask, tables)
  if known is None or not all(told) or segments is not None:
    return mask

  with jax.ensure_compile_time_eval():
    rows = [
      x if x is None else jnp.asarray(_one_batch_axis(x, batch)) for x in values
    ]
    grid = Grid.of((math.prod(batch),), *shape, *rows)
    if _any_pair_unknown(known, grid):
      raise ValueError(_complaint(tables[found.index(False)], bounds))

  return _mark_all(mask)


def covered(mask: Mask, length: int, keys: int) -> Mask:
  """Marks the tables as covering positions 0 to T - 1 and S - 1, or raises."""
  bounds = [(0, length - 1), (0, keys - 1)]
  for table in _leaves(mask):
    if isinstance(table, Table) and _table_covers(table, bounds) is False:
      raise ValueError(_complaint(table, bounds))
  return _mark_all(mask)


def on_one_axis(
  mask: Mask, batch: tuple[int, ...], query_length: int, key_length: int
) -> Mask:
  """Fits a mask to positions from 0, and its arrays to one batch axis.

  >>> import numpy as np
  >>> from attnjax import masks
  >>> mask = masks.full() & np.ones((5, 3, 1, 2, 2), bool)
  >>> on_one_axis(mask, (5, 3), 2, 2)
  full() & bool[15,1,2,2]
  """

  def flat(x):
    # As `attend` does: all leading axes become one, row-major.
    lead = np.shape(x)[:-3]
    if len(lead) != len(batch) or not all(
      size in (1, axis) for size, axis in zip(lead, batch, strict=True)
    ):
      return x  # `Indexed.visible` refuses it
    rows = (1,) * len(batch) if math.prod(lead) == 1 else batch
    x = jnp.broadcast_to(x, (*rows, *x.shape[-3:]))
    return x.reshape((math.prod(rows), *x.shape[-3:]))

  return realigned(flat, covered(mask, query_length, key_length))


def _one_batch_axis(x: np.ndarray, batch: tuple[int, ...]) -> np.ndarray:
  """Reshapes ``*#B T`` to one batch axis, of size 1 where all are."""
  if math.prod(x.shape[:-1]) != 1:
    x = np.broadcast_to(x, (*batch, x.shape[-1]))
  return x.reshape(-1, x.shape[-1])


def _leaves(mask: Mask) -> list:
  """Leaves of a mask; a table counts as one leaf."""
  return jax.tree.leaves(mask, is_leaf=lambda x: isinstance(x, Table))


def _least_and_greatest(size: int, value: np.ndarray | None) -> tuple[int, int]:
  """Least and greatest position on an axis; (0, -1) where it is empty."""
  if value is None or not value.size:
    return 0, size - 1
  return int(value.min()), int(value.max())


def _table_covers(table: Table, bounds) -> bool | None:
  """Whether a table has an entry for every position; None if unknown."""
  answers = [
    None if bound is None else bound[0] >= 0 and bound[1] < size
    for size, bound in zip(table.extent, bounds, strict=True)
    if size is not None
  ]
  if False in answers:
    return False
  return None if None in answers else True


def _with_known_arrays(mask: Mask, tables: list) -> Mask | None:
  """The mask with a traced table replaced by zeros; None if that is unsound.

  The entries of a single table say nothing of the pairs outside of it, so zeros
  serve. A traced length, or a second table of traced entries, may hide them.
  """
  rest = [x for x in _leaves(mask) if not isinstance(x, Table)]
  if any(value_of(x) is None for x in rest):
    return None

  if len(tables) > 1 and any(
    value_of(x) is None for x in jax.tree.leaves(tables)
  ):
    return None

  zeros = lambda x: x if value_of(x) is not None else np.zeros(x.shape, x.dtype)
  return jax.tree.map(zeros, mask)


def _any_pair_unknown(mask: Mask, grid: Grid) -> bool:
  """Whether some pair is outside of a table and no other mask hides it."""
  length, keys = grid.query_index.shape[-2], grid.key_index.shape[-1]
  # In steps along the queries, so that memory is bounded at any length.
  pairs = max(grid.batch.size * grid.head.size * keys, 1)
  step = max(_PAIRS // pairs, 1)

  def in_rows(start: int) -> bool:
    rows = slice(start, start + step)
    cut = lambda x: x if x.shape[-2] == 1 else x[..., rows, :]
    part = dataclasses.replace(
      grid,
      query_position=cut(grid.query_position),
      query_index=cut(grid.query_index),
    )
    # Perhaps seen and not surely: a table has no entry, and nothing hides the
    # pair.
    some, every = realigned(cut, mask).between(part)
    return bool((some & ~every).any())

  return any(in_rows(start) for start in range(0, length, step))


def _complaint(table: Table, bounds) -> str:
  """Message for a table that does not cover the positions of a call."""
  size = ["any" if n is None else n for n in table.extent]
  (q0, q1), (k0, k1) = bounds
  return (
    f"mask: {table!r} is looked up by position, and has {size[0]} x {size[1]}"
    f" of them from 0, but queries stand at {q0} to {q1} and keys at {k0} to"
    f" {k1}; make the table larger, or, if it is aligned with the arrays of the"
    f" call, {table.by_index}"
  )


def _mark_all(mask: Mask) -> Mask:
  """Marks every table of a mask as covering the call."""
  mark = lambda x: dataclasses.replace(x, covers=True)
  return realigned(lambda x: x, mask, tables=mark)
