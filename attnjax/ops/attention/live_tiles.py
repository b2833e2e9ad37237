"""Which tiles of a call are empty, full or mixed, and the list to visit.

A rule without arrays is decided while the program is traced, and its empty
tiles are not in it. What depends on arrays (lengths, segment ids, positions) is
decided when it runs, by bounds of the blocks: an empty tile costs a branch.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from attnjax.ops.attention.block_sizes import Blocks
from attnjax.ops.attention.logits import Rules
from attnjax.ops.grid import Area
from attnjax.ops.masks.algebra import static_part
from attnjax.ops.target import target_platform
from attnjax.ops.tiles import EMPTY, FULL, MIXED, Sweep

__all__ = [
  "area_of",
  "decide_heads",
  "decide_tiles",
  "live_tiles",
  "of_every_head",
  "tile_codes",
]


def live_tiles(
  shape: tuple[int, int, int, int],
  blocks: Blocks,
  rules: Rules,
  query_positions=None,
  key_positions=None,
  *,
  alike: bool = False,
) -> Sweep:
  """The tiles to visit, keys of a block of queries in order.

  Args:
    shape: ``B H T S``, multiples of the blocks (or 0).
    blocks: sizes of a tile.
    rules: of the call, its arrays padded to that shape.
    query_positions: int ``#B T``, or None for the index.
    key_positions: int ``#B S``, or None for the index.
    alike: whether all heads are to have the same tiles, also where a mask
      differs by head: those of any.
  """
  asked = blocks._replace(heads=max(shape[1], 1)) if alike else blocks
  some, every = decide_heads(
    shape, asked, rules, query_positions, key_positions
  )
  counts = _counts(shape, blocks)

  # Empty tiles that are known while tracing are not in the list at all.
  known = isinstance(some, np.ndarray)
  heads = shape[1] // blocks.heads
  positioned = query_positions is not None or key_positions is not None
  visited = some if known else _perhaps(shape, asked, rules, positioned)
  visited = np.broadcast_to(visited, (counts[0], heads, *counts[1:]))
  tiles = np.argwhere(visited).astype(np.int32)
  b, h, t, s = tiles.T
  at = (b, 0 * h if some.shape[1] == 1 else h, t, s)

  if known and isinstance(every, np.ndarray):
    codes = np.where(every[at], FULL, MIXED)
    kinds = tuple(sorted({int(code) for code in codes}))
    return Sweep(tiles, codes.astype(np.int32), blocks, kinds)

  if counts[1] * counts[2] == 1:
    # There is nothing to choose between: one tile a row and head, and its mask.
    codes = np.full(len(tiles), MIXED, np.int32)
    return Sweep(tiles, codes, blocks, (MIXED,))

  fullness = jnp.where(jnp.asarray(every)[at], FULL, MIXED)
  found = jnp.where(jnp.asarray(some)[at], fullness, EMPTY).astype(jnp.int32)
  # On a CPU a branch that passes a tile over costs 5 us, as much as computing a
  # small one. Elsewhere loops keep a length that `attnjax.plan` can count.
  listed = target_platform(some, every) == "cpu"
  kinds = (EMPTY, MIXED, FULL)
  return Sweep(tiles, _shared(found), blocks, kinds, listed=listed)


def _perhaps(shape, blocks: Blocks, rules: Rules, positioned: bool):
  """Which tiles may hold something, by what is known while tracing."""
  static = None if positioned else static_part(rules.mask)
  if static is None:
    return np.ones(_counts(shape, blocks), bool)[:, None]
  return decide_heads(shape, blocks, Rules(mask=static))[0]


def decide_heads(
  shape,
  blocks: Blocks,
  rules: Rules,
  query_positions=None,
  key_positions=None,
) -> tuple:
  """(some, every) for all tiles, ``b h t s``; h is 1 where heads are alike.

  The arguments are those of `decide_tiles`.
  """
  counts = _counts(shape, blocks)
  apart = rules.mask is not None and rules.mask.differs_by_head
  size = blocks.heads if apart else shape[1]
  each = [
    decide_tiles(
      shape,
      blocks,
      rules,
      query_positions,
      key_positions,
      heads=(first, first + size - 1),
    )
    for first in range(0, max(shape[1], 1), max(size, 1))
  ]

  found = []
  for parts in zip(*each, strict=True):
    spread = [_spread(x, counts) for x in parts]
    known = all(isinstance(x, np.ndarray) for x in spread)
    found.append((np if known else jnp).stack(spread, 1))
  return tuple(found)


def of_every_head(
  visited: np.ndarray, count: int
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
  """The tiles to visit, ``N 4``, and the place ``b t s`` of each in `visited`.

  Here a mask was asked for all heads of a block of queries and keys at once, so
  that all blocks of heads have the same tiles.

  Args:
    visited: ``b t s``, whether a block of rows, queries and keys is visited.
    count: blocks of heads.
  """
  shape = (visited.shape[0], count, *visited.shape[1:])
  tiles = np.argwhere(np.broadcast_to(visited[:, None], shape))
  at = tuple(tiles.T[axis] for axis in (0, 2, 3))
  return tiles.astype(np.int32), at


def tile_codes(*of, **options):
  """EMPTY, MIXED or FULL of every tile, ``b t s``.

  The arguments are those of `decide_tiles`; numpy if it is known while tracing.
  """
  shape, blocks, *_ = of
  counts = _counts(shape, blocks)
  some, every = (_spread(x, counts) for x in decide_tiles(*of, **options))
  numpy = jnp if isinstance(some & every, jax.Array) else np
  codes = numpy.where(some, numpy.where(every, FULL, MIXED), EMPTY)
  codes = codes.astype(np.int8)  # of many tiles there are many
  return codes if numpy is np else _shared(codes)


def _spread(x, counts):
  """Broadcast, what is known staying known."""
  numpy = jnp if isinstance(x, jax.Array) else np
  return numpy.broadcast_to(x, counts)


@custom_vmap
def _shared(codes):
  """What is known of each tile; of a batch, what is known of all of it.

  A loop whose branch differs in a batch would take every branch. So under
  `vmap` the codes stay one for the batch: empty if all are, full if all are.
  """
  return codes


@_shared.def_vmap
def _(size, batched, codes):
  del size
  if not batched[0]:
    return _shared(codes), False
  low, high = codes.min(0), codes.max(0)
  return _shared(jnp.where(low == high, low, MIXED)), False


def decide_tiles(
  shape,
  blocks,
  rules,
  query_positions=None,
  key_positions=None,
  query_index=None,
  key_index=None,
  heads=None,
):
  """(some, every) for all tiles, ``b t s`` of them or broadcasting to it.

  numpy if it is known while tracing. `some` false proves a tile empty, `every`
  true proves that nothing in it is hidden. An index, ``1 T`` or ``1 S``, is
  given where the array is not in the order of the call; `heads` are the first
  and the last query head of which it must be true, None is all.
  """
  some, every = np.ones((1, 1, 1), bool), np.ones((1, 1, 1), bool)
  found = []
  if rules.mask is not None:
    index = query_index, key_index
    area = area_of(shape, blocks, index, (query_positions, key_positions))
    if heads is not None:
      area = area._replace(heads=heads)
    found.append(rules.mask.decide(area))
  if rules.query_segment_ids is not None:
    found.append(_of_segments(rules, blocks))
  for one, whole in found:
    some, every = some & one, every & whole
  return some, every


def _counts(shape, blocks: Blocks) -> tuple[int, int, int]:
  """Blocks on the axes b, t and s."""
  batch, _, length, keys = shape
  return batch // blocks.rows, length // blocks.query, keys // blocks.key


def area_of(
  shape,
  blocks: Blocks,
  index: tuple = (None, None),
  positions: tuple = (None, None),
) -> Area:
  """Bounds of all tiles at once, broadcasting to ``b t s``."""
  counts = _counts(shape, blocks)
  b, t, s = (np.arange(n, dtype=np.int32) for n in counts)

  def of(x, size, axis, otherwise):
    if x is None:
      return otherwise
    low, high = _bounds(x, blocks.rows, size)
    along = (slice(None),) * axis + (None,)
    return low[along], high[along]

  query_index = _span(t[None, :, None], blocks.query)
  key_index = _span(s[None, None, :], blocks.key)
  query_index = of(index[0], blocks.query, 2, query_index)
  key_index = of(index[1], blocks.key, 1, key_index)
  query = of(positions[0], blocks.query, 2, query_index)
  key = of(positions[1], blocks.key, 1, key_index)
  batch = _span(b[:, None, None], blocks.rows)
  order = (i if p is None else p for p, i in zip(positions, index, strict=True))
  return Area(
    query,
    key,
    query_index,
    key_index,
    batch,
    blocks=(blocks.rows, blocks.query, blocks.key),
    order=tuple(order),
    heads=(0, shape[1] - 1),
    all_heads=shape[1],
  )


def _span(index, size: int) -> tuple:
  """First and last of a block."""
  return index * size, index * size + (size - 1)


def _bounds(x, rows: int, size: int) -> tuple:
  """Least and greatest of each block of ``#B N``, as ``#b n``."""
  x = _cut(_cut(x, 1, size), 0, rows)
  return x.min((1, 3)), x.max((1, 3))


def _of_segments(rules: Rules, blocks: Blocks) -> tuple:
  """Blocks whose ids do not overlap are strangers."""
  low, high = _bounds(rules.query_segment_ids, blocks.rows, blocks.query)
  least, most = _bounds(rules.key_segment_ids, blocks.rows, blocks.key)
  low, high = low[:, :, None], high[:, :, None]
  least, most = least[:, None, :], most[:, None, :]
  some = (low <= most) & (least <= high)
  return some, (low == high) & (least == most) & (low == least)


def _cut(x, axis: int, size: int):
  """Cuts an axis into blocks; one at a time, as explicit sharding wants it."""
  length = x.shape[axis]
  size = 1 if length == 1 else size  # it serves every block
  shape = (*x.shape[:axis], length // size, size, *x.shape[axis + 1 :])
  return x.reshape(shape)
