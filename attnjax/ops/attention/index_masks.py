"""Masks looked up by position, as masks by index: where the two are the same.

A tile of a kernel cuts arrays along queries and keys, and looks nothing up. Of
a call without positions a table's entry for a position is that of the index.
"""

import dataclasses

from attnjax.ops.attention.arguments import Call
from attnjax.ops.masks.arrays import realigned

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
  positions = call.query_positions, call.key_positions
  if mask is None or any(x is not None for x in positions):
    return call

  _, _, length, keys = call.shape
  aligned = realigned(
    lambda x: x,
    mask,
    tables=lambda x: x.aligned(length, keys) if x.covers else x,
  )
  rules = call.rules._replace(mask=aligned)
  return dataclasses.replace(call, rules=rules)
