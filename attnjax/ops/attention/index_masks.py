"""Masks looked up by position, as masks by index: where the two are the same.

A tile of a kernel cuts arrays along queries and keys, and looks nothing up. Of a
call without positions a table's entry for a position is that of the index.
"""

import dataclasses

import jax.numpy as jnp

from attnjax.ops.attention.arguments import Call
from attnjax.ops.masks import Mask
from attnjax.ops.masks.algebra import Indexed
from attnjax.ops.masks.arrays import realigned
from attnjax.ops.masks.tables import Table, _Dense, _Segments
from attnjax.ops.pytree_dataclass import pytree_dataclass

__all__ = ["by_index"]


def by_index(call: Call) -> Call:
  """The call, with its tables of positions as arrays by index.

  It is the same call where it has no positions, and left as it is where it has.

  >>> import jax.numpy as jnp, numpy as np
  >>> from attnjax import masks
  >>> from attnjax.ops.attention.arguments import checked_call
  >>> x = jnp.ones((4, 1, 2))
  >>> table = masks.dense(np.eye(9, dtype=bool)) & masks.causal()
  >>> by_index(checked_call(x, x, x, {"mask": table})).rules.mask
  bool[1,1,4,4] & causal()
  """
  mask = call.rules.mask
  positioned = (call.query_positions, call.key_positions) != (None, None)
  if mask is None or positioned:
    return call

  _, _, length, keys = call.shape
  aligned = realigned(
    lambda x: x, mask, tables=lambda x: _aligned(x, length, keys)
  )
  rules = call.rules._replace(mask=aligned)
  return dataclasses.replace(call, rules=rules)


def _aligned(table: Table, length: int, keys: int) -> Mask:
  """A table that covers the call, by index; another as it is."""
  if not table.covers:
    return table
  if isinstance(table, _Dense):
    array = jnp.asarray(table.array)
    array = array.reshape((1,) * (4 - array.ndim) + array.shape)
    array = array.reshape((-1, *array.shape[-3:]))  # one batch axis
    return Indexed(array[:, :, :length, :keys])
  if isinstance(table, _Segments):
    flat = lambda x, n: jnp.reshape(x, (-1, jnp.shape(x)[-1]))[:, :n]
    query, key = flat(table.query_ids, length), flat(table.key_ids, keys)
    return _SameSegment(
      Indexed(query[:, None, :, None]), Indexed(key[:, None, None, :])
    )
  return table


@pytree_dataclass
class _SameSegment(Mask):
  """Whether two arrays of ids, by query and by key, are equal."""

  query: Indexed
  key: Indexed

  def __repr__(self):
    return f"({self.query!r} == {self.key!r})"

  def __call__(self, b, h, q, k):
    """Raises ValueError: ids by index have no entries by position."""
    return self.query(b, h, q, k)

  def visible(self, grid):
    """Evaluates the mask on a grid, by index."""
    return self.query.visible(grid) == self.key.visible(grid)
