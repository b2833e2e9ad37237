"""`check`: what a mask says of its tiles, held against all of its pairs."""

import dataclasses
import math

import jax
import numpy as np

from attnjax.ops.grid import Area, Grid
from attnjax.ops.masks.arrays import on_one_axis, realigned
from attnjax.ops.masks.functions import FromFn
from attnjax.ops.masks.protocol import Mask
from attnjax.ops.value_checks import known

__all__ = ["check"]


def check(
  mask: Mask,
  query_length: int,
  key_length: int,
  *,
  batch: tuple[int, ...] = (),
  heads: int = 1,
  block: int = 64,
) -> None:
  """Checks what a mask says of its tiles against what it shows.

  For each tile of block x block, and for each batch row, every pair is
  evaluated. A ``decide`` of `from_fn`, or of a mask of your own, that calls a
  tile empty or full which is not makes attention wrong without an error: call
  this once, in a test. It holds a block of queries against all keys at once.

  Args:
    mask: any, of values that are known.
    query_length: T.
    key_length: S.
    batch: the batch axes.
    heads: H.
    block: queries and keys a tile, >= 1.

  Raises:
    ValueError: if the mask contradicts itself: names the tile, the pair, and
      what `decide` must return; or if arrays are traced.

  >>> from attnjax import masks
  >>> check(masks.causal() & masks.sliding_window(5), 100, 90)
  >>> wrong = lambda query, key: (key[0] < query[1], key[1] < query[0])
  >>> band = masks.from_fn(lambda b, h, q, k: k <= q, decide=wrong)
  >>> check(band, 6, 6, block=2)
  >>> check(band, 6, 6, block=1)
  Traceback (most recent call last):
    ...
  ValueError: masks.check: decide of from_fn(<lambda>, decide=<lambda>) says ...
  """
  if block < 1:
    raise ValueError(f"masks.check: block must be >= 1, got {block}")
  if not all(map(known, jax.tree.leaves(mask))):
    raise ValueError(
      "masks.check: the arrays of a mask must be known, got traced ones; call"
      " it outside of jax.jit"
    )

  mask.validate(batch, heads)
  mask = on_one_axis(mask, batch, query_length, key_length)
  grid = Grid.of((math.prod(batch),), heads, query_length, key_length)
  # What a user says first, so that the error names it.
  leaves = jax.tree.leaves(mask, is_leaf=lambda x: isinstance(x, FromFn))
  told = [x for x in leaves if isinstance(x, FromFn) and x.rule is not None]
  for part in (*told, mask):
    for start in range(0, query_length, block):
      _check_rows(part, grid, start, min(start + block, query_length), block)


def _check_rows(mask: Mask, grid: Grid, start: int, stop: int, block: int):
  """Checks the tiles of queries from start to stop."""
  rows, keys = slice(start, stop), grid.key_index.shape[-1]
  part = dataclasses.replace(
    grid,
    query_position=grid.query_position[..., rows, :],
    query_index=grid.query_index[..., rows, :],
  )
  cut = lambda x: x if x.shape[-2] == 1 else x[..., rows, :]
  seen = realigned(cut, mask).visible(part)
  batch, heads = grid.batch.size, grid.head.size
  seen = np.broadcast_to(seen, (batch, heads, stop - start, keys))

  first = np.arange(0, keys, block, dtype=np.int32)
  columns = (first, np.minimum(first + block, keys).astype(np.int32) - 1)
  key = tuple(x[None, None, :] for x in columns)
  query = tuple(np.full((1, 1, 1), x, np.int32) for x in (start, stop - 1))
  row = np.arange(batch, dtype=np.int32)[:, None, None]
  area = Area(query, key, query, key, (row, row))
  area = area._replace(heads=(0, heads - 1), all_heads=heads)
  told = [np.broadcast_to(x, (batch, 1, len(first))) for x in mask.decide(area)]

  for b in range(batch):
    for n, (low, high) in enumerate(zip(*columns, strict=True)):
      tile = seen[b, :, :, low : high + 1]
      some, every = (bool(x[b, 0, n]) for x in told)
      wrong = tile if not some else ~tile
      if wrong.any() and (every or not some):
        h, q, k = np.argwhere(wrong)[0].tolist()
        _refuse(
          mask, some, (start, stop), (low, high), (b, h, start + q, low + k)
        )


def _refuse(mask: Mask, some: bool, queries, keys, pair):
  """Raises for a tile of which a mask says what is not so."""
  b, h, q, k = pair
  said = "every pair is visible" if some else "no pair is visible"
  shown = "hides" if some else "shows"
  remedy = "every=False" if some else "some=True"
  raise ValueError(
    f"masks.check: decide of {mask!r} says that {said} of queries"
    f" {queries[0]} to {queries[1] - 1} and keys {keys[0]} to {keys[1]}, and"
    f" the mask {shown} key {k} to query {q} of batch row {b}, head {h}; decide"
    f" must return {remedy} for that tile, where (some, every) = (True, False)"
    " is right of any"
  )
