"""Bounds on the visible pairs of a tile, computed from captured arrays.

For lengths they come from one entry per batch row, for segment ids from the
minimum and maximum over a range, for a table from counts in a rectangle.
"""

import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.integers import LIMITS, int32
from attnjax.ops.shard_map_axes import varying_alike, varying_axes
from attnjax.ops.value_checks import known, value_of

__all__ = [
  "UNDECIDED",
  "SomeEvery",
  "batch_row",
  "check_rows",
  "clip_to_axis",
  "extremes",
  "integer_array",
  "numpy_if_known",
  "numpy_or_jax",
  "query_key_sizes",
  "rectangles_contain",
  "some_every_below",
  "some_every_of_blocks",
  "some_every_of_table",
  "span",
]

# A pair of bools or of arrays of bool, one entry per tile. `some` False proves
# a tile empty, `every` True proves it full, (True, False) decides nothing.
# Pairs compose under & | ~, as ints, as numpy arrays and as traced arrays.
SomeEvery = tuple

UNDECIDED: SomeEvery = (True, False)


def integer_array(rule: str, name: str, x, least_rank: int = 0):
  """Checks a captured array of integers, and returns it as int32."""
  x = int32(f"{rule}: {name}", x)
  if x.ndim < least_rank:
    raise ValueError(
      f"{rule}: {name} must have at least {least_rank} axes, got {x.ndim}"
    )
  # A numpy scalar, unlike an array of rank 0, hashes and compares by value.
  return x[()] if isinstance(x, np.ndarray) and x.ndim == 0 else x


def check_rows(what: str, x, batch: tuple[int, ...], trailing: int) -> None:
  """Checks the leading axes of a captured array against the batch axes."""
  rows = np.shape(x)[: np.ndim(x) - trailing]
  if rows and math.prod(rows) != 1 and rows != batch:
    raise ValueError(
      f"mask: {what} has leading axes {list(rows)}, expected the batch axes"
      f" {list(batch)} or none; broadcast it to the batch first"
    )


def batch_row(x, b, trailing: int):
  """Batch row b of an array ``*B ...``; a single row serves every b."""
  x = jnp.asarray(x)
  if x.ndim == trailing:
    return x

  # Row-major over the batch axes, as the b of a grid counts.
  x = x.reshape((-1, *x.shape[x.ndim - trailing :]))
  return x[jnp.zeros_like(b) if x.shape[0] == 1 else b]


def some_every_below(limit, bounds: tuple, batch: tuple | None) -> SomeEvery:
  """Whether ``x < limit`` for (some, every) x of a range, over batch rows."""
  if np.size(limit) == 0:
    return UNDECIDED
  first, last = bounds
  least, most = extremes(limit, batch, 0)
  # Some x is below the greatest limit if the first is, every x below the least
  # if the last is.
  return first < most, last < least


def extremes(x, batch: tuple | None, trailing: int) -> tuple:
  """Minimum and maximum of an array ``*B ...`` over the rows of an area.

  Where a tile spans several rows, the result is over all rows of the batch:
  looser bounds, but valid ones.
  """
  x = numpy_if_known(x)
  x = x.reshape((-1, *x.shape[x.ndim - trailing :]))
  if x.shape[0] == 1:
    return x[0], x[0]

  if batch is not None and known(batch[0]) and known(batch[1]):
    first, last = (np.asarray(b) for b in batch)
    if np.all(last == first):
      return x[first], x[first]

  return x.min(axis=0), x.max(axis=0)


def numpy_if_known(x):
  """The value as numpy where it is known, else the traced array itself."""
  value = value_of(x)
  return x if value is None else value


def numpy_or_jax(*arrays):
  """The module numpy where every value is known, else jax.numpy.

  Under `jit` every jnp operation is traced, even on known values. With numpy
  the result stays known, so that tiles are chosen while tracing.
  """
  traced = (isinstance(numpy_if_known(x), jax.Array) for x in arrays)
  return jnp if any(traced) else np


class Span(NamedTuple):
  """Minimum and maximum over ranges of positions; least > most if empty."""

  least: Any
  most: Any
  inside: Any  # is the whole range in the array?


def span(x, bounds: tuple, batch: tuple | None) -> Span:
  """Minimum and maximum of an int array ``*B N`` over ranges of positions.

  A sparse table: the minimum and maximum of each run of 2^j entries are
  computed once, O(N log N); two runs, which may overlap, cover any range.

  Reference:
    Bender, Farach-Colton, "The LCA Problem Revisited", LATIN 2000, section 3.
  """
  first, last = bounds
  size = np.shape(x)[-1]
  inside = (first >= 0) & (last < size)
  if np.size(x) == 0:
    return Span(LIMITS.max, LIMITS.min, inside)

  least, most = extremes(x, batch, 1)
  xp = numpy_or_jax(least, first, last)
  low = xp.clip(xp.asarray(first, np.int32), 0, size)
  high = xp.clip(xp.asarray(last, np.int32), -1, size - 1) + 1
  return Span(
    xp.where(low < high, _over(xp, xp.minimum, least, low, high), LIMITS.max),
    xp.where(low < high, _over(xp, xp.maximum, most, low, high), LIMITS.min),
    inside,
  )


def _over(xp, least, x, low, high):
  """Range-minimum query over [low, high) (or maximum) by a sparse table."""
  row = np.arange(math.prod(x.shape[:-1]), dtype=np.int32)
  row, size = row.reshape(x.shape[:-1]), x.shape[-1]
  # Widths 1, 2, 4... up to the length of the array.
  widths = 2 ** np.arange(size.bit_length(), dtype=np.int32)

  def longer(run, width):
    # `roll` wraps around the end, but no range asks for a run that does.
    return least(run, xp.roll(run, -width, axis=1)), run

  scan = _scan if xp is np else jax.lax.scan
  runs = scan(longer, xp.asarray(x).reshape((-1, size)), widths)[1]

  # The widest run that fits, from the first place and up to the last one.
  width = widths.reshape((1,) * np.ndim(low) + (-1,))
  level = xp.sum((high - low)[..., None] >= width[..., 1:], axis=-1)
  last = xp.clip(high - xp.asarray(widths)[level], 0, size - 1)
  first = xp.clip(low, 0, size - 1)
  return least(runs[level, row, first], runs[level, row, last])


def _scan(step, carry, xs):
  """`jax.lax.scan` in numpy, whose results stay known under `jit`."""
  ys = []
  for x in xs:
    carry, y = step(carry, x)
    ys.append(y)
  return carry, np.stack(ys)


def some_every_of_table(array, query: tuple, key: tuple, batch: tuple | None):
  """Whether (some, every) entry of rectangles of a table ``*B H T S`` is True.

  Coordinate compression: the bounds of all rectangles cut each axis into
  intervals, and one pass over the table reduces it to one entry per cell. Each
  rectangle is then counted from the two-dimensional prefix sums of the cells.
  """
  # As numpy first: under `jit` a reshape of a known jax.Array is traced.
  table = numpy_if_known(array)
  table = table.reshape((1,) * (3 - table.ndim) + table.shape)
  if table.size == 0:
    return False, False

  # Over the rows of the batch first, then over heads.
  least, most = extremes(table, batch, 3)
  if most.ndim not in (3, 6):  # tiles not as `Area` lays them out
    least, most = extremes(table, None, 3)

  shape = (-1, *most.shape[-2:]) if most.ndim == 6 else most.shape[-2:]
  seen, solid = most.any(-3).reshape(shape), least.all(-3).reshape(shape)

  query, query_inside = clip_to_axis(query, table.shape[-2])
  key, key_inside = clip_to_axis(key, table.shape[-1])
  full = rectangles_contain(solid, query, key, value=False) ^ True
  return rectangles_contain(seen, query, key), full & query_inside & key_inside


def some_every_of_blocks(array, blocks: tuple[int, int, int]):
  """Any and all over each block (rows, queries, keys) of ``#B #H #T #S``.

  Heads are reduced too; the results are ``R T S``, blocks along each axis.
  """

  def cut(x):
    # One axis at a time: JAX cannot reshape several axes of a sharded array
    # at once.
    for axis in (2, 1, 0):
      length = x.shape[axis]
      size = 1 if length == 1 else blocks[axis]
      shape = x.shape[:axis], (length // size, size), x.shape[axis + 1 :]
      x = x.reshape(sum(shape, ()))
    return x

  some, every = cut(array.any(1)), cut(array.all(1))
  return some.any((1, 3, 5)), every.all((1, 3, 5))


def clip_to_axis(bounds: tuple, size: int) -> tuple:
  """Closed ranges clipped to half-open ones; and whether each was inside.

  An axis of size 1 broadcasts, so every position is inside of it.
  """
  first, last = bounds
  xp = numpy_or_jax(first, last)
  if size == 1:
    some = xp.asarray(first <= last, np.int32)
    return (xp.zeros_like(some), some), True
  inside = (first >= 0) & (last < size)
  return (xp.clip(first, 0, size), xp.clip(last, -1, size - 1) + 1), inside


def rectangles_contain(table, query: tuple, key: tuple, value: bool = True):
  """Whether rectangles of a table ``T S`` or ``R T S`` contain a value.

  The bounds must be within the table. Axis 0 of bounds of rank 3 is the batch
  axis R, as it is of the table.
  """
  bounds = (*query, *key)
  arrays = (table, *bounds)
  rows = [x.shape[:1] for x in arrays if np.ndim(x) == 3]
  (lead,) = np.broadcast_shapes((1,), *rows)
  if lead == 0:
    return np.zeros((0, 1, 1), bool)

  table = table.reshape((-1, *table.shape[-2:]))
  if lead == 1:
    return _contains(table[0], *bounds, value=value)

  def of_row(row):
    own = (x[_at(x.shape[0], row)] if np.ndim(x) == 3 else x for x in bounds)
    return _contains(table[_at(table.shape[0], row)], *own, value=value)

  if numpy_or_jax(*arrays) is np:
    return np.stack([of_row(row) for row in range(lead)])

  table, bounds = jnp.asarray(table), tuple(map(jnp.asarray, bounds))
  # `map`, not `vmap`: batched, the loop of `_by_row` becomes one scatter.
  return jax.lax.map(of_row, jnp.arange(lead, dtype=jnp.int32))


def _at(size: int, row):
  """Index of a batch row on an axis; 0 where the axis has size 1."""
  return 0 if size == 1 else row


def _contains(table, q0, q1, k0, k1, *, value):
  """Whether rectangles of one table ``T S`` contain a value."""
  xp = numpy_or_jax(table, q0, q1, k0, k1)
  rows, q0, q1 = _cuts(xp, q0, q1)
  columns, k0, k1 = _cuts(xp, k0, k1)

  # Inclusive sums of the cells: four of them count a rectangle.
  cells = _merged(xp, table, rows, value)
  cells = _merged(xp, cells.T, columns, True).T
  sums = xp.pad(cells.astype(np.int32), ((1, 0), (1, 0)))
  sums = sums.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)
  above = sums[q1, k1] - sums[q0, k1]
  return above - sums[q1, k0] + sums[q0, k0] > 0


def _cuts(xp, *bounds) -> tuple:
  """Sorted coordinates of all bounds on an axis, and the index of each."""
  bounds = tuple(xp.asarray(x, np.int32) for x in bounds)
  # With 0, so that every row of the table is in a cell.
  cuts = [xp.zeros(1, np.int32), *(x.ravel() for x in bounds)]
  cuts = xp.sort(xp.concatenate(cuts))
  return cuts, *(xp.searchsorted(cuts, x) for x in bounds)


def _merged(xp, table, cuts, value):
  """Whether a column holds the value between two cuts, ``T S`` to ``I S``."""
  size = table.shape[0]
  if xp is np:
    ends = itertools.pairwise((*cuts.tolist(), size))
    return np.stack([(table[low:high] == value).any(0) for low, high in ends])

  place = jnp.arange(size, dtype=jnp.int32)
  cell = jnp.searchsorted(cuts, place, side="right") - 1
  start = jnp.zeros((cuts.size, table.shape[1]), bool)
  # A loop carry must vary over the manual mesh axes that its inputs vary over.
  start = varying_alike(start, varying_axes(table, cell))

  # On a CPU a loop updates in place; an accelerator would launch a kernel for
  # every row.
  return jax.lax.platform_dependent(
    jnp.asarray(table),
    cell,
    start,
    np.asarray(value),
    cpu=_by_row,
    default=_at_once,
  )


def _by_row(table, cell, start, value):
  """Merges the rows of a table into their cells by a loop over rows."""

  def step(t, merged):
    row = merged[cell[t]] | (table[t] == value)
    return merged.at[cell[t]].set(row)

  return jax.lax.fori_loop(0, table.shape[0], step, start)


def _at_once(table, cell, start, value):
  """Merges the rows of a table into their cells by one scatter."""
  found = (table == value).astype(jnp.uint8)
  return start.astype(jnp.uint8).at[cell].max(found).astype(bool)


def query_key_sizes(array) -> tuple[int | None, int | None]:
  """Sizes T and S of an array ``... T S``; None where the axis has size 1.

  >>> import numpy as np
  >>> query_key_sizes(np.ones((2, 1, 5)))
  (None, 5)
  """
  shape = (1, 1, *np.shape(array))[-2:]
  query, key = (None if n == 1 else n for n in shape)
  return query, key
