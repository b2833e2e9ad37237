"""What masks that are looked up by position have in common."""

from typing import Any

import numpy as np

from attnjax.ops.grid import Area, Grid
from attnjax.ops.masks.algebra import Mask
from attnjax.ops.masks.rows import Verdict
from attnjax.typing import Array, Bool

__all__ = ["Table"]


class Table(Mask):
  """A mask that is looked up by position, and says nothing beyond its ends.

  `covers` says that it is known to cover the call; `extent` are its sizes, and
  `by_index` is what to use where it is aligned with arrays.
  """

  covers: bool
  by_index = "compose the array itself, which goes by index: causal() & array"

  def inside(self, grid: Grid) -> Bool[Array, "..."]:
    """Which pairs of a tile it has an entry for."""
    found: Any = np.ones((), bool)
    places = grid.query_position, grid.key_position
    for x, size in zip(places, self.extent, strict=True):
      if size is not None:
        found = found & (x >= 0) & (x < size)
    return found

  def between(self, grid: Grid) -> tuple:
    """What is outside may be seen, and is not seen for sure."""
    seen = self.visible(grid)
    if self.covers:
      return seen, seen
    inside = self.inside(grid)
    return seen | (inside ^ True), seen & inside

  def of_tile(self, area: Area, some, every) -> Verdict:
    """(some, every) of a tile, undecided where it is not inside."""
    if self.covers:
      return some, every
    for (first, last), size in zip(
      (area.query, area.key), self.extent, strict=True
    ):
      if size is not None:
        inside = (first >= 0) & (last < size)
        some, every = some | (inside ^ True), every & inside
    return some, every
