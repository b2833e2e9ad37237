"""What moves between devices when keys do, told by the layout of an array.

Of the arrays that a tile reads, or adds to, those along the keys alone are
divided as the keys are, and must travel. Those along queries and keys have all
the keys of their own queries here: a column for each device. The rest stays.
"""

from collections.abc import Sequence

import jax
from jax import lax

from attnjax.ops.tiles import Layout

__all__ = ["column", "parted", "rejoined", "travels", "with_column"]


def travels(layout: Layout) -> bool:
  """Whether an array is divided along its keys.

  >>> travels("bhs."), travels("bhts"), travels("bhq.")
  (True, False, False)
  """
  return "s" in layout and "t" not in layout


def parted(xs: Sequence, layouts: Sequence[Layout]) -> tuple[list, list]:
  """What travels, and what stays."""
  pairs = list(zip(xs, layouts, strict=True))
  going = [x for x, layout in pairs if travels(layout)]
  return going, [x for x, layout in pairs if not travels(layout)]


def rejoined(going: Sequence, staying: Sequence, layouts) -> list:
  """The inverse of `parted`."""
  kinds = {True: iter(going), False: iter(staying)}
  return [next(kinds[travels(layout)]) for layout in layouts]


def column(x, layout: Layout, origin, shards: int):
  """Of an array with all keys, those of one device; others are as they are."""
  if not _has_columns(layout):
    return x
  axis = layout.index("s")
  size = x.shape[axis] // shards
  return lax.dynamic_slice_in_dim(x, origin * size, size, axis)


def with_column(x, part, layout: Layout, origin) -> jax.Array:
  """The array with the keys of one device replaced."""
  if not _has_columns(layout):
    return part
  axis = layout.index("s")
  return lax.dynamic_update_slice_in_dim(
    x, part, origin * part.shape[axis], axis
  )


def _has_columns(layout: Layout) -> bool:
  """Whether an array is along queries and keys."""
  return "s" in layout and "t" in layout
