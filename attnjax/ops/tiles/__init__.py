"""Sums over the live tiles of a grid: a primitive closed under derivation."""

from attnjax.moved import forward_names
from attnjax.ops.tiles.fold import (
  EMPTY,
  FULL,
  MIXED,
  Blocks,
  Filled,
  Subscripts,
  Sweep,
  fold,
)
from attnjax.ops.tiles.tile_sum import tile_sum, tile_sum_tangent

__all__ = [
  "EMPTY",
  "FULL",
  "MIXED",
  "Blocks",
  "Filled",
  "Subscripts",
  "Sweep",
  "fold",
  "tile_sum",
  "tile_sum_tangent",
]


__getattr__ = forward_names(__name__)
