"""Few queries against many keys, as a kernel: decoding.

A cache is ``B S K D``, all heads of a token side by side. To bring the keys of
each head together would be to copy all of it, for every step of decoding. So
the keys of all heads are taken as keys of one, ``B (S K) D``, which is the same
array, and so are the queries, one or a few that are verified at once:
``B (T H) D``, each a row of one tile with a head and a position of its own:

    logits [(t, h), (s, k)] = q[t, h] · key[s, k],   hidden where k is not the
                                                     key head of h

Most logits are for nothing; but a kernel that decodes waits for its keys.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from attnjax.ops.attention.arguments import Call
from attnjax.ops.attention.block_sizes import Blocks
from attnjax.ops.attention.fused_blocks import chip_of
from attnjax.ops.attention.tile_operands import CallOperands
from attnjax.ops.masks.arrays import is_open
from attnjax.ops.scoring import Scoring
from attnjax.ops.tiles import Subscripts
from attnjax.typing import Array

__all__ = ["by_call", "decodes", "keys_of_tile", "side_by_side"]

# Queries, and query vectors of all heads, up to which keys take longer to bring
# together than logits to compute, most of which are for nothing.
_MOST_QUERIES, _MOST_ROWS = 8, 512
# Keys of a tile, those of all heads counted, up to a width of 128; and fewer
# where there would be more logits than the first, whose program is long enough,
# or they would take more than a part of the memory of a chip.
_KEYS, _LOGITS, _PART = 8192, 2**20, 1 / 8


def decodes(call: Call, heads: int) -> bool:
  """Whether a call is of few queries, and computed so.

  Args:
    call: the whole.
    heads: of it that a device has.
  """
  _, _, length, keys = call.shape
  mask = call.rules.mask
  return (
    1 <= length <= _MOST_QUERIES
    and heads > 1
    and length * heads <= _MOST_ROWS
    and keys > 0
    and type(call.scoring).score is Scoring.score
    and "max_logit" not in call.aux
    and (mask is None or not is_open(mask))
  )


def keys_of_tile(call: Call, heads: int, group: int, given: int | None) -> int:
  """How many tokens of the keys a tile has: all heads of each.

  A number that divides the length where there is one: to pad is to copy.

  Args:
    call: that is decoded.
    heads: of it that a device has.
    group: of these, how many share a key head.
    given: the number that was asked for, or None.
  """
  if given is not None:
    return given
  _, _, queries, length = call.shape
  width = max(call.query.shape[-1], call.value.shape[-1])
  room = int(chip_of(*jax.tree.leaves(call)).vmem * _PART) // 4
  logits = min(_LOGITS, room) // (heads * queries)
  most = min(_KEYS // max(-(-width // 128), 1), logits)
  most = max(most // (heads // group) // 128, 1) * 128
  if length <= most:
    return -(-length // 128) * 128
  sizes = range(most, max(most // 4, 127), -128)
  return next((n for n in sizes if length % n == 0), most)


def by_call(call: Call, found: dict[str, Array]) -> dict[str, Array]:
  """Results of rows ``B 1 (T H)``, as those of a call, ``B H T``."""
  _, heads, length, _ = call.shape

  def one(x):
    x = x.reshape(x.shape[0], length, heads, *x.shape[3:])
    return jnp.swapaxes(x, 1, 2)

  return {name: one(x) for name, x in found.items()}


def side_by_side(operands: CallOperands) -> CallOperands:
  """The operands with queries and keys of all heads as those of one."""
  settings, shared = operands.settings, operands.key.shape[1]
  rows, tokens = math.prod(settings.blocks[1:3]), settings.blocks.key
  batch, heads, length, keys = settings.shape
  of_rows = operands.map(
    lambda x, axes: _along_keys(
      _along_rows(x, axes, heads, length), axes, shared
    )
  )

  def flat(x):
    x = jnp.moveaxis(x, 1, 2)  # undoes what `prepared` did
    return x.reshape(x.shape[0], 1, -1, x.shape[-1])

  query = operands.query
  query = query.reshape(query.shape[0], heads, length, query.shape[-1])
  places = operands.places
  if places is not None:
    places = places._replace(head=jnp.tile(places.head, length))
  return dataclasses.replace(
    of_rows,
    places=places,
    query=flat(query)[:, :, None],
    key=flat(operands.key),
    value=flat(operands.value),
    settings=settings._replace(
      shape=(batch, 1, length * heads, keys * shared),
      blocks=Blocks(1, 1, rows, tokens * shared),
      side_by_side=(heads, shared),
    ),
  )


def _along_rows(x, axes: Subscripts, heads: int, length: int) -> jax.Array:
  """An array along queries or heads, along the rows that both are."""
  if "k" in axes or axes == "h" or not set(axes) & set("ht"):
    return x  # queries, keys and indices of heads are replaced
  if len(axes) == 2:  # of positions, or segments
    return jnp.repeat(jnp.asarray(x), heads, axis=1)
  x = jnp.asarray(x)
  x = jnp.broadcast_to(x, (x.shape[0], heads, length, x.shape[3]))
  return jnp.swapaxes(x, 1, 2).reshape(x.shape[0], 1, -1, x.shape[3])


def _along_keys(x, axes: Subscripts, shared: int) -> jax.Array:
  """An array along keys, each of them as often as there are key heads."""
  if "k" in axes or "s" not in axes:
    return x
  return jnp.repeat(jnp.asarray(x), shared, axis=axes.index("s"))
