"""Few queries against many keys: products that read the keys where they lie.

A cache is ``B S K D``: all heads of a token side by side. A product for each
head would first bring the keys of each together, a copy of the whole cache at
each token that is decoded. One product for all heads needs no copy:

    scores = keys [S, K D] · queries [K D, K G T]

where the queries are block-diagonal, 0 where the head of the query is not that
of the key. It is K times the arithmetic, which is less than what a copy takes
as long as there are few queries.
"""

import math

import jax.numpy as jnp

from attnjax.ops.attention.arguments import Call
from attnjax.ops.attention.block_sizes import even
from attnjax.ops.scoring import Scoring
from attnjax.typing import Array, Float, PrecisionLike

__all__ = [
  "keys_read_at_once",
  "read_in_place",
  "reads_keys_in_place",
  "scores_in_place",
]

# Query vectors, H T, up to which reading in place is faster than copying, and
# keys from which on it matters: measured on two cores, D = 64.
_FEW, _MANY = 32, 2048
# Bytes of keys in a tile: what a core's cache holds of 65,536 keys of 8 heads,
# D = 64, float32, read in 24 ms where tiles of 8192 keys (16 MiB) took 50.
_TILE_BYTES = 2**21


def reads_keys_in_place(call: Call) -> bool:
  """Whether a call has so few queries that its keys are read where they lie."""
  _, heads, length, keys = call.shape
  products = type(call.scoring).score is Scoring.score  # no other arithmetic
  several = call.key.shape[2] > 1  # of one head nothing is to be brought apart
  return products and several and length * heads <= _FEW and keys >= _MANY


def keys_read_at_once(key: Float[Array, "B S K A"], length: int) -> int:
  """How many of so many keys a tile has that are read where they lie.

  A size that divides the length where there is one: to pad is to copy it all.

  >>> import jax.numpy as jnp
  >>> keys_read_at_once(jnp.zeros((1, 4096, 8, 64)), 4096)
  1024
  """
  row = math.prod(key.shape[2:]) * key.dtype.itemsize
  most = max(_TILE_BYTES // max(row, 1), 64)

  whole = (n for n in range(min(most, length), most // 4, -1) if not length % n)
  return next(whole, even(length, most))


def scores_in_place(
  query: Float[Array, "B K G T A"],
  key: Float[Array, "B S K A"],
  precision: PrecisionLike = None,
) -> Float[Array, "B K G T S"]:
  """Dot products of few queries with keys of all heads side by side.

  >>> import jax, jax.numpy as jnp
  >>> query = jax.random.normal(jax.random.key(0), (1, 2, 3, 1, 4))
  >>> key = jax.random.normal(jax.random.key(1), (1, 9, 2, 4))
  >>> scores = scores_in_place(query, key)
  >>> expected = jnp.einsum("bkgta,bska->bkgts", query, key)
  >>> bool(jnp.allclose(scores, expected, atol=1e-5))
  True
  """
  batch, keys, shared, width = key.shape
  _, _, group, length, _ = query.shape
  own = jnp.eye(shared, dtype=bool)

  # Rows are (head of the key, A), columns (head of the query, G, T).
  rows = jnp.moveaxis(query, -1, 2)[:, :, :, None]
  diagonal = jnp.where(own[:, None, :, None, None], rows, 0)
  diagonal = diagonal.reshape(batch, shared * width, shared * group * length)

  flat = key.reshape(batch, keys, shared * width)
  scores = jnp.matmul(flat, diagonal, precision=precision)
  scores = jnp.swapaxes(scores, 1, 2)
  return scores.reshape(batch, shared, group, length, keys)


def read_in_place(
  weights: Float[Array, "B H T S"],
  value: Float[Array, "B S K E"],
  precision: PrecisionLike = None,
) -> Float[Array, "B H T E"]:
  """Weighted sums of values of all heads side by side.

  >>> import jax.numpy as jnp
  >>> weights = jnp.full((1, 2, 1, 4), 0.25)
  >>> value = jnp.arange(8.0).reshape(1, 4, 2, 1)
  >>> read_in_place(weights, value)[0, :, 0, 0].tolist()  # means of each head
  [3.0, 4.0]
  """
  batch, heads, length, keys = weights.shape
  shared, width = value.shape[2:]
  rows = weights.reshape(batch, heads * length, keys)
  flat = value.reshape(batch, keys, shared * width)

  # What each query reads of every head, of which only its own counts.
  every = jnp.matmul(rows, flat, precision=precision)
  every = every.reshape(batch, shared, -1, shared, width)
  own = jnp.moveaxis(jnp.diagonal(every, axis1=1, axis2=3), -1, 1)
  return own.reshape(batch, heads, length, width)
