"""Sums over the live tiles of a grid: a primitive closed under derivation."""

from attnjax.ops.tiles.primitive import tile_sum, tile_sum_tangent
from attnjax.ops.tiles.sweep import EMPTY, FULL, MIXED, Layout, Sweep, fold

__all__ = [
  "EMPTY",
  "FULL",
  "MIXED",
  "Layout",
  "Sweep",
  "fold",
  "tile_sum",
  "tile_sum_tangent",
]
