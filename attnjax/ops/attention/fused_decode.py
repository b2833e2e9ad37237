"""One query against many keys, as a kernel: decoding.

A cache is ``B S K D``, all heads of a token side by side. To bring the keys of
each head together would be to copy all of it, for every token that is decoded.
So the keys of all heads are taken as keys of one, ``B (S K) D``, which is the
same array, and all query heads as rows of a tile:

    logits [h, (s, k)] = q[h] · key[s, k],   hidden where k is not the head of h

Most logits are for nothing; but a kernel that decodes waits for its keys.
"""

import dataclasses

import jax
import jax.numpy as jnp

from attnjax.ops.attention.arguments import Call
from attnjax.ops.attention.block_sizes import Blocks, pad, padded
from attnjax.ops.attention.index_masks import by_index
from attnjax.ops.attention.live_tiles import live_tiles
from attnjax.ops.attention.tile_operands import CallOperands
from attnjax.ops.masks.arrays import is_open
from attnjax.ops.scoring import Scoring
from attnjax.ops.tiles import Subscripts, Sweep

__all__ = ["decodes", "keys_of_tile", "operands_and_tiles"]

# Query heads up to which keys take longer to read than logits to compute.
_MOST_HEADS = 256
# Keys of a tile, those of all heads counted, up to a width of 128.
_KEYS = 8192


def decodes(call: Call) -> bool:
  """Whether a call is of one query, and computed so."""
  _, heads, length, keys = call.shape
  mask = call.rules.mask
  return (
    length == 1 < heads <= _MOST_HEADS
    and keys > 0
    and type(call.scoring).score is Scoring.score
    and "max_logit" not in call.aux
    and (mask is None or not is_open(mask))
  )


def keys_of_tile(call: Call, given: int | None) -> int:
  """How many tokens of the keys a tile has: all heads of each.

  A number that divides the length where there is one: to pad is to copy.

  Args:
    call: that is decoded.
    given: the number that was asked for, or None.
  """
  if given is not None:
    return given
  width = max(call.query.shape[-1], call.value.shape[-1])
  most = _KEYS // (max(-(-width // 128), 1) * call.key.shape[2])
  most = max(most // 128, 1) * 128
  length = call.shape[3]
  if length <= most:
    return -(-length // 128) * 128
  sizes = range(most, max(most // 4, 127), -128)
  return next((n for n in sizes if length % n == 0), most)


def operands_and_tiles(call: Call, keys: int) -> tuple[CallOperands, Sweep]:
  """The operands of a call, keys of all heads as keys of one, and the tiles.

  Args:
    call: for which `decodes`.
    keys: tokens of a tile.
  """
  heads, shared = call.shape[1], call.key.shape[2]
  blocks = Blocks(1, heads, 1, keys, call.group)
  shape = padded(call.shape, blocks)
  sizes = {"t": shape[2], "s": shape[3]}
  whole, operands = (
    CallOperands.unpadded(x, blocks, shape, in_place=False).map(
      lambda x, axes: pad(x, axes, sizes)
    )
    for x in (call, by_index(call))
  )
  sweep = live_tiles(
    shape, blocks, whole.rules, whole.query_positions, whole.key_positions
  )
  wide = Blocks(1, heads, 1, keys * shared, heads)
  return _side_by_side(operands, wide), sweep._replace(blocks=wide)


def _side_by_side(operands: CallOperands, blocks: Blocks) -> CallOperands:
  """The operands with the keys of all heads as keys of one."""
  shared = operands.key.shape[1]
  settings = operands.settings
  *rest, keys = settings.shape
  repeated = operands.map(
    lambda x, axes: _repeated(x, axes, shared) if "s" in axes else x
  )

  def flat(x):
    x = jnp.moveaxis(x, 1, 2)  # undoes what `prepared` did
    return x.reshape(x.shape[0], 1, -1, x.shape[-1])

  query = operands.query
  return dataclasses.replace(
    repeated,
    query=query.reshape(query.shape[0], 1, -1, 1, query.shape[-1]),
    key=flat(operands.key),
    value=flat(operands.value),
    settings=settings._replace(
      shape=(*rest, keys * shared), blocks=blocks, key_heads=shared
    ),
  )


def _repeated(x, axes: Subscripts, count: int) -> jax.Array:
  """An array along keys, each of them as often as there are key heads."""
  if "k" in axes:  # keys and values themselves, which are replaced
    return x
  return jnp.repeat(jnp.asarray(x), count, axis=axes.index("s"))
