"""Tiles of a function whose arrays or positions are known at run time only."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from attnjax.ops.grid import Area
from attnjax.ops.masks.bounds import SomeEvery

__all__ = ["run_time_tiles"]

_PAIRS = 2**20  # evaluated at once, as far as a block allows


def run_time_tiles(
  function: Callable, area: Area, *, by_row: bool, by_head: bool
) -> SomeEvery:
  """(some, every) of all blocks of a call, ``R T S``, each evaluated whole.

  A loop over blocks of queries, and in it over some blocks of keys, so that the
  memory is that of one step.

  Args:
    function: ``(b, h, q, k) -> bool``, pointwise.
    area: of all blocks; its batch is known.
    by_row: whether the function differs by batch row.
    by_head: whether it differs by head.

  >>> import numpy as np
  >>> from attnjax.ops.grid import Area
  >>> at = lambda n, axis: np.arange(n).reshape([-1 if i == axis else 1
  ...   for i in range(3)])
  >>> span = lambda x: (2 * x, 2 * x + 1)
  >>> query, key, batch = span(at(2, 1)), span(at(2, 2)), (at(1, 0), at(1, 0))
  >>> area = Area(query, key, query, key, batch, blocks=(1, 2, 2))
  >>> some, every = run_time_tiles(
  ...   lambda b, h, q, k: q >= k, area, by_row=False, by_head=False)
  >>> some.tolist(), every.tolist()
  ([[[True, False], [True, True]]], [[[False, False], [True, False]]])
  """
  rows, size, keys = area.blocks or (1, 1, 1)
  queries = _cut(area.query, area.order[0], 1, size)  # R t T
  columns = _cut(area.key, area.order[1], 2, keys)  # R s S
  many = by_row or len(queries) > 1 or len(columns) > 1
  groups = np.size(area.batch[0]) if many and area.batch else 1
  if not many:
    rows = 1
  first, last = area.heads if by_head and area.heads else (0, 0)
  heads = jnp.arange(first, last + 1, dtype=jnp.int32).reshape(1, -1, 1, 1)

  # So many blocks of keys at once.
  blocks = columns.shape[1]
  most = max(_PAIRS // (rows * heads.size * size * keys), 1)
  chunk = max(n for n in range(1, blocks + 1) if blocks % n == 0 and n <= most)
  columns = columns.reshape(len(columns), blocks // chunk, chunk * keys)

  def step(place):
    r, t, s = place
    b = r * rows + jnp.arange(rows, dtype=jnp.int32)
    part = lambda x, at: lax.dynamic_index_in_dim(
      _rows_of(x, r, rows), at, axis=1, keepdims=False
    )
    q, k = part(queries, t), part(columns, s)
    seen = function(
      b.reshape(-1, 1, 1, 1), heads, q[:, None, :, None], k[:, None, None, :]
    )
    shape = (rows, heads.size, size, chunk * keys)
    seen = jnp.broadcast_to(seen, shape)
    seen = seen.reshape(-1, size, chunk, keys)
    return seen.any((0, 1, 3)), seen.all((0, 1, 3))

  counts = (groups, queries.shape[1], blocks // chunk)
  places = np.indices(counts, np.int32).reshape(3, math.prod(counts))
  some, every = lax.map(step, tuple(map(jnp.asarray, places)))
  shape = (groups, queries.shape[1], blocks)
  return some.reshape(shape), every.reshape(shape)


def _cut(bounds: tuple, order, axis: int, size: int):
  """Positions by block, ``R N size``; those past the last are the last."""
  if order is not None:
    return jnp.asarray(order).reshape(len(order), -1, size)
  last = int(np.max(bounds[1], initial=0))
  count = np.shape(bounds[1])[axis]
  at = np.minimum(np.arange(count * size, dtype=np.int32), last)
  return jnp.asarray(at).reshape(1, count, size)


def _rows_of(x, r, rows: int):
  """The rows of a block of rows; of one row, it."""
  if len(x) == 1:
    return x
  return lax.dynamic_slice_in_dim(x, r * rows, rows, axis=0)
