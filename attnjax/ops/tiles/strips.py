"""Lookups by position of a TPU: an array as strips of 128 numbers in VMEM.

A register looks up among the numbers of one strip. What is farther is in
another strip, so where there are many a lookup counts through the strips from
that of the least index to that of the greatest: distances within a tile,
buckets and tokens are close together.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from attnjax.ops.tiles.planes import LANES

__all__ = ["numbers_at"]

_SUBLANES = 8
_FEW = 2  # strips, as many as buckets of T5 are for 8 heads


def numbers_at(strip: Callable, count: int, at):
  """The numbers of an array at indices, a matrix of them.

  Args:
    strip: from a number to the strip of that number, ``1 128``.
    count: of strips.
    at: int32, of at least 0; beyond the last strip 0 is found.

  >>> import jax.numpy as jnp
  >>> array = jnp.arange(256.0).reshape(2, 1, 128) ** 2
  >>> at = jnp.array([[3, 200], [127, 128]])
  >>> numbers_at(lambda n: array[n], 2, at).tolist()
  [[9.0, 40000.0], [16129.0, 16384.0]]
  """
  rows, columns = at.shape
  if rows < _SUBLANES:
    more = jnp.broadcast_to(at[:1], (_SUBLANES, columns))
    wide = more if rows == 1 else jnp.concatenate([at, more[rows:]])
    return numbers_at(strip, count, wide)[:rows]

  number, lane = lax.shift_right_logical(at, 7), at & (LANES - 1)
  parts = [lane[:, k : k + LANES] for k in range(0, columns, LANES)]

  def found_in(n):
    row = jnp.broadcast_to(strip(n), (rows, LANES))
    found = [
      jnp.take_along_axis(row, part, axis=1, mode="promise_in_bounds")
      for part in parts
    ]
    return found[0] if len(found) == 1 else jnp.concatenate(found, axis=1)

  if count == 1:
    return found_in(0)
  one_more = lambda n, found: jnp.where(number == n, found_in(n), found)
  found = jnp.zeros_like(at, dtype=strip(0).dtype)
  if count <= _FEW:  # to find which are needed would take longer
    for n in range(count):
      found = one_more(n, found)
    return found
  last = jnp.minimum(jnp.max(number), count - 1)
  return lax.fori_loop(jnp.min(number), last + 1, one_more, found)
