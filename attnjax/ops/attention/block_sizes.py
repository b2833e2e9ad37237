"""How large a block is: by platform, shapes and what a mask leaves to do."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from attnjax.ops.tiles import Subscripts

__all__ = ["Blocks", "choose_blocks", "even", "pad", "padded"]

# Logits a tile may hold, and the logits' worth of time that any tile costs.
# CPU: measured on 2 cores with 2 MB of cache each, float32, 8 heads, D = 64:
# 0.5 ms + 1.3 ns a logit, flat from 2 M logits on. Elsewhere a tile must be
# large enough to fill the device; not measured.
_LIMITS = {"cpu": (2**21, 4 * 10**5)}
_DEFAULT = (2**24, 2**21)
_SIZES = tuple(2**n for n in range(6, 14))


class Blocks(NamedTuple):
  """Batch rows, queries and keys of a tile."""

  rows: int
  query: int
  key: int


def choose_blocks(
  shape: tuple[int, int, int, int],
  *,
  platform: str,
  footprint: int,
  live: Callable[[Blocks], float],
  query: int | None = None,
  key: int | None = None,
) -> Blocks:
  """The blocks of least estimated time, among those that fit.

  Args:
    shape: ``B H T S``.
    platform: of the computation, such as "cpu".
    footprint: numbers held for each logit while it is made.
    live: how many tiles there are to compute with these blocks.
    query: a size that is given.
    key: a size that is given.
  """
  batch, heads, length, keys = shape
  most, fixed = _LIMITS.get(platform, _DEFAULT)
  room = max(most // (footprint * max(heads, 1)), 1)
  found = {}

  for t in _sizes(length, query):
    for s in _sizes(keys, key):
      rows = _divisor(batch, room // (t * s))
      blocks = Blocks(rows, t, s)
      size = rows * t * s
      cost = live(blocks) * (fixed + size * heads * footprint)
      # Where none fits, the smallest. Of equal ones the tallest, for a matrix
      # product likes many rows, but no sliver: at T = 8192 tiles of 4096 x 64
      # took 1.16 (backward 1.33) of the time of 2048 x 128.
      found[max(size - room, 0), cost, -min(t, 16 * s)] = blocks

  return found[min(found)]


def padded(
  shape: tuple[int, int, int, int], blocks: Blocks
) -> tuple[int, int, int, int]:
  """``B H T S`` with T and S multiples of their blocks."""
  batch, heads, length, keys = shape
  up = lambda n, block: -(-n // block) * block
  return batch, heads, up(length, blocks.query), up(keys, blocks.key)


def pad(x, subscripts: Subscripts, sizes: dict[str, int]):
  """Repeats the last of an array until each axis has its padded size.

  What is repeated is hidden, but still computed with: positions and ids that do
  occur keep the bounds of a block tight, and what is finite stays so.
  """
  widths = [
    (0, sizes.get(axis, size) - size)
    for size, axis in zip(x.shape, subscripts, strict=False)
  ]
  if not any(more for _, more in widths):
    return x
  return jnp.pad(x, widths, mode="edge")


def even(length: int, most: int) -> int:
  """The block of at most so many that cuts a length into equal parts."""
  count = max(-(-length // max(most, 1)), 1)
  block = -(-length // count)
  return max(block if count == 1 else -(-block // 8) * 8, 1)


def _sizes(length: int, given: int | None) -> list[int]:
  """Blocks worth trying on an axis."""
  if given is not None:
    return [min(given, max(length, 1))]

  # Powers of two that a length does not divide are cut to equal parts, so that
  # the last block is not mostly padding.
  return sorted({even(length, size) for size in _SIZES})


def _divisor(batch: int, most: int) -> int:
  """The largest divisor of a batch that is at most so many."""
  if batch == 0:
    return 1
  return max(
    n for n in range(1, batch + 1) if batch % n == 0 and n <= max(most, 1)
  )
