"""A walk whose tile reads operands and adds to sums of every kind."""

import jax.numpy as jnp
import numpy as np

__all__ = ["SUBSCRIPTS", "arrays", "of_tile", "sums"]

# Of what `arrays` gives, one an operand.
SUBSCRIPTS = ["bkgt.", "bks.", "bht", "bs", "..ts", "h", "", ""]


def of_tile(full, tile, q, k, row, ids, bias, gain, scalar, table):
  """A tile's share of sums by query, by key and of all."""
  s = jnp.einsum("bkgtd,bksd->bkts", q, k) + row[..., None] * scalar
  s = s + bias * gain.reshape(1, 1, 1, 1) + table[tile[1]]
  rows = jnp.arange(s.shape[2]).reshape(1, 1, -1, 1)
  hidden = (ids[:, None, None] + rows) % 3 == 0
  s = jnp.tanh(s) if full else jnp.where(hidden, 0, jnp.sin(s))
  by_query = jnp.einsum("bkts,bksd->bktd", s, k)
  by_key = jnp.einsum("bkts,bkgtd->bksd", s, q)
  return [by_query, by_key, (s * s).sum(-1), s.sum()]


def arrays(batch, heads, group, queries, keys, width):
  """The operands, drawn."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  ids = jnp.asarray(rng.integers(0, 9, (batch, keys)), jnp.int32)
  return [
    draw(batch, heads // group, group, queries, width),
    draw(batch, heads // group, keys, width),
    draw(batch, heads, queries),
    ids,
    draw(1, 1, queries, keys),
    draw(heads),
    draw(),
    draw(heads),
  ]


def sums(batch, heads, group, queries, keys, width):
  """The shape of each sum, by its subscripts."""
  return {
    "bht.": (batch, heads, queries, width),
    "bks.": (batch, heads // group, keys, width),
    "bht": (batch, heads, queries),
    "": (),
  }
