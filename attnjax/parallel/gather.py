"""All keys at once: every device holds them while it computes."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from attnjax.ops.tiles import Sweep
from attnjax.parallel.carried import parted, rejoined, travels

__all__ = ["Gather"]


@dataclasses.dataclass(frozen=True)
class Gather:
  """The courier that brings all keys at once, and adds up what returns.

  Backward they are brought again: between the passes a device holds its own.

  Args:
    axis: of the mesh.
    pieces: in which keys come: one.

  >>> Gather("sequence").pieces
  1
  """

  axis: str
  pieces: int = 1

  def knowing(self, codes: np.ndarray | None) -> "Gather":
    """Itself: it brings everything."""
    del codes
    return self

  def __call__(
    self, walk: Callable, sweep: Sweep, operands, layouts, state, state_layouts
  ) -> list:
    """Folds the tiles of all keys into the state of the queries here."""
    parts = [
      self._gathered(x, layout) if travels(layout) else x
      for x, layout in zip(operands, layouts, strict=True)
    ]
    wide = [
      jnp.zeros_like(self._gathered(x, layout)) if travels(layout) else x
      for x, layout in zip(state, state_layouts, strict=True)
    ]
    new = walk(sweep._replace(codes=sweep.codes[0]), parts, wide)
    sums, held = parted(new, state_layouts)
    axes = [layout.index("s") for layout in state_layouts if travels(layout)]
    sums = [
      lax.psum_scatter(x, self.axis, scatter_dimension=axis, tiled=True)
      for x, axis in zip(sums, axes, strict=True)
    ]
    return rejoined(sums, held, state_layouts)

  def _gathered(self, x, layout: str):
    """An array of all keys, in the order of the devices."""
    return lax.all_gather(x, self.axis, axis=layout.index("s"), tiled=True)
