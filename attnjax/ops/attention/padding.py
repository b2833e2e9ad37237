"""Lengths that no block divides: padded, and the padding hidden."""

import jax.numpy as jnp

from attnjax.ops.attention.blocks import Blocks
from attnjax.ops.tiles import Layout

__all__ = ["pad", "padded"]


def padded(
  shape: tuple[int, int, int, int], blocks: Blocks
) -> tuple[int, int, int, int]:
  """``B H T S`` with T and S multiples of their blocks."""
  batch, heads, length, keys = shape
  up = lambda n, block: -(-n // block) * block
  return batch, heads, up(length, blocks.query), up(keys, blocks.key)


def pad(x, layout: Layout, sizes: dict[str, int]):
  """Repeats the last of an array until each axis has its padded size.

  What is repeated is hidden, but still computed with: positions and ids that do
  occur keep the bounds of a block tight, and what is finite stays so.
  """
  widths = [
    (0, sizes.get(axis, size) - size)
    for size, axis in zip(x.shape, layout, strict=False)
  ]
  if not any(more for _, more in widths):
    return x
  return jnp.pad(x, widths, mode="edge")
