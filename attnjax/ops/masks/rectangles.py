"""Whether a rectangle of a table holds a true entry, for many rectangles.

The bounds of all rectangles cut each axis into intervals. The table is merged
to one entry a cell of that grid, in one pass over it; every rectangle is then a
rectangle of cells, and is counted from sums of the small grid.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.masks.rows import extremes, module_of, settled
from attnjax.ops.varying import varying_alike, varying_axes

__all__ = ["clipped", "decided", "held", "of_blocks", "sides"]


def decided(array, query: tuple, key: tuple, batch: tuple | None):
  """(some, every) of ranges of the last two axes of a boolean array."""
  # Settled first: while a program is traced, so is what becomes of an array
  # of JAX.
  table = settled(array)
  table = table.reshape((1,) * (3 - table.ndim) + table.shape)
  if table.size == 0:
    return False, False
  least, most = extremes(table, batch, 3)
  if most.ndim not in (3, 6):  # tiles not as `Area` lays them out
    least, most = extremes(table, None, 3)
  shape = (-1, *most.shape[-2:]) if most.ndim == 6 else most.shape[-2:]
  seen, solid = most.any(-3).reshape(shape), least.all(-3).reshape(shape)
  query, query_inside = clipped(query, table.shape[-2])
  key, key_inside = clipped(key, table.shape[-1])
  full = held(solid, query, key, value=False) ^ True
  return held(seen, query, key), full & query_inside & key_inside


def of_blocks(array, blocks: tuple[int, int, int]):
  """Any and all of each block of ``#B #H #T #S``."""

  def cut(x):
    # One axis at a time: what is divided on a mesh is not split in two at once.
    for axis in (2, 1, 0):
      length = x.shape[axis]
      size = 1 if length == 1 else blocks[axis]
      shape = x.shape[:axis], (length // size, size), x.shape[axis + 1 :]
      x = x.reshape(sum(shape, ()))
    return x

  some, every = cut(array.any(1)), cut(array.all(1))
  return some.any((1, 3, 5)), every.all((1, 3, 5))


def clipped(bounds: tuple, size: int) -> tuple:
  """First and last as half-open within an axis, and whether all is in it.

  An axis of size 1 serves every position.
  """
  first, last = bounds
  xp = module_of(first, last)
  if size == 1:
    some = xp.asarray(first <= last, np.int32)
    return (xp.zeros_like(some), some), True
  inside = (first >= 0) & (last < size)
  return (xp.clip(first, 0, size), xp.clip(last, -1, size - 1) + 1), inside


def held(table, query: tuple, key: tuple, value: bool = True):
  """Is an entry of a table ``T S`` or ``R T S`` that value, by rectangle?

  Bounds are within the table. Those of rank 3 may differ on axis 0, which then
  is the axis of the tables too.
  """
  bounds = (*query, *key)
  arrays = (table, *bounds)
  rows = [x.shape[:1] for x in arrays if np.ndim(x) == 3]
  (lead,) = np.broadcast_shapes((1,), *rows)
  if lead == 0:
    return np.zeros((0, 1, 1), bool)
  table = table.reshape((-1, *table.shape[-2:]))
  if lead == 1:
    return _held(table[0], *bounds, value=value)

  def one(row):
    own = (x[_at(x.shape[0], row)] if np.ndim(x) == 3 else x for x in bounds)
    return _held(table[_at(table.shape[0], row)], *own, value=value)

  if module_of(*arrays) is np:
    return np.stack([one(row) for row in range(lead)])
  table, bounds = jnp.asarray(table), tuple(map(jnp.asarray, bounds))
  # One after another: side by side they would be scattered, not merged.
  return jax.lax.map(one, jnp.arange(lead, dtype=jnp.int32))


def _at(size: int, row):
  """The row of an axis, which may serve all."""
  return 0 if size == 1 else row


def _held(table, q0, q1, k0, k1, *, value):
  """The same for one table ``T S``."""
  xp = module_of(table, q0, q1, k0, k1)
  rows, q0, q1 = _cuts(xp, q0, q1)
  columns, k0, k1 = _cuts(xp, k0, k1)
  cells = _merged(xp, table, rows, value)
  cells = _merged(xp, cells.T, columns, True).T
  sums = xp.pad(cells.astype(np.int32), ((1, 0), (1, 0)))
  sums = sums.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)
  whole = sums[q1, k1] - sums[q0, k1]
  return whole - sums[q1, k0] + sums[q0, k0] > 0


def _cuts(xp, *bounds) -> tuple:
  """Where bounds cut an axis, in order, and the cut that each bound is."""
  bounds = tuple(xp.asarray(x, np.int32) for x in bounds)
  cuts = [xp.zeros(1, np.int32), *(x.ravel() for x in bounds)]
  cuts = xp.sort(xp.concatenate(cuts))
  return cuts, *(xp.searchsorted(cuts, x) for x in bounds)


def _merged(xp, table, cuts, value):
  """Table ``T S`` to ``I S``: has a row from cut i to the next that value?"""
  size = table.shape[0]
  if xp is np:
    ends = itertools.pairwise((*cuts.tolist(), size))
    return np.stack([(table[low:high] == value).any(0) for low, high in ends])
  place = jnp.arange(size, dtype=jnp.int32)
  cell = jnp.searchsorted(cuts, place, side="right") - 1
  start = jnp.zeros((cuts.size, table.shape[1]), bool)
  start = varying_alike(start, varying_axes(table, cell))
  # A CPU merges row after row in place; an accelerator would wait at each.
  return jax.lax.platform_dependent(
    jnp.asarray(table),
    cell,
    start,
    np.asarray(value),
    cpu=_by_row,
    default=_at_once,
  )


def _by_row(table, cell, start, value):
  """Merges the rows of a table into their cells, one after another."""

  def step(t, merged):
    row = merged[cell[t]] | (table[t] == value)
    return merged.at[cell[t]].set(row)

  return jax.lax.fori_loop(0, table.shape[0], step, start)


def _at_once(table, cell, start, value):
  """The same as one scatter."""
  found = (table == value).astype(jnp.uint8)
  return start.astype(jnp.uint8).at[cell].max(found).astype(bool)


def sides(array) -> tuple[int | None, int | None]:
  """T and S of ``... T S``; None where an axis of size 1 serves all.

  >>> sides(np.ones((2, 1, 5)))
  (None, 5)
  """
  shape = (1, 1, *np.shape(array))[-2:]
  query, key = (None if n == 1 else n for n in shape)
  return query, key
