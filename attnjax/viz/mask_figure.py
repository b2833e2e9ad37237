"""Figure of a mask: the pairs it shows, and the tiles that are computed."""

from typing import TYPE_CHECKING

import numpy as np

from attnjax.ops.masks import Mask
from attnjax.ops.masks.picture import one_head
from attnjax.viz import style
from attnjax.viz.plain_text import write_plainly

if TYPE_CHECKING:
  import matplotlib.figure

__all__ = ["mask_figure", "tile_counts"]

# Hidden, hidden within a tile that is computed, seen, seen in a full tile.
_COLOURS = ("#ffffff", "#e8eef7", "#358ccf", "#2e4a95")


def mask_figure(
  mask: Mask,
  query_length: int,
  key_length: int | None = None,
  *,
  block: tuple[int, int] | int | None = None,
  batch: int = 0,
  head: int = 0,
  title: str | None = None,
) -> "matplotlib.figure.Figure":
  """Draws which keys each query sees, and which tiles of pairs are live.

  With blocks the tiles are ruled: of an empty one nothing is computed, a full
  one (dark) needs no mask, and of a mixed one (pale where it hides) every pair
  is. They are told by looking at every pair, as an exact engine would.

  Args:
    mask: any.
    query_length: T.
    key_length: S; None is T.
    block: queries and keys of a tile; one number is both. None draws no tiles.
    batch: the batch row.
    head: the head.
    title: above the figure; None is the mask as it is typed.

  Raises:
    ValueError: a length or a block is below 1, or arrays of the mask do not fit
      the lengths.
    ImportError: matplotlib is not installed.

  >>> from attnjax import masks
  >>> figure = mask_figure(masks.causal(), 8, block=4)
  >>> figure.axes[0].get_xlabel()
  'key  ·  tiles of 4 x 4: 1 empty, 2 mixed, 1 full'

  Reference: the tiles are those of J. Dong et al., Flex Attention, 2024, arXiv
  2412.05496.
  """
  keys = query_length if key_length is None else key_length
  if query_length < 1 or keys < 1:
    raise ValueError(
      f"lengths must be at least 1 to be drawn, got {query_length} and {keys}"
    )
  seen = one_head(mask, query_length, keys, batch, head)
  blocks = (block, block) if isinstance(block, int) else block
  if blocks is not None and min(blocks) < 1:
    raise ValueError(f"block must be at least 1, got {blocks}")

  height = min(6.0, max(1.5, 4.4 * query_length / keys))
  figure = style.new_figure(5.0, height + 0.7)
  axes = figure.subplots()
  name = "key"
  code = 2 * seen.astype(np.int8)
  if blocks is not None:
    code, counts = _with_tiles(seen, blocks)
    told = ", ".join(f"{n} {kind}" for kind, n in counts.items())
    name += f"  ·  tiles of {blocks[0]} x {blocks[1]}: {told}"
  _draw(axes, code, blocks)

  axes.set_xlabel(name, fontsize=8, color=style.QUIET)
  axes.set_ylabel("query", fontsize=8, color=style.QUIET)
  axes.set_title(
    repr(mask) if title is None else title,
    fontsize=9, color=style.INK, loc="left", wrap=True,
  )  # fmt: skip
  write_plainly(figure)
  return figure


def tile_counts(seen: np.ndarray, block: tuple[int, int]) -> dict[str, int]:
  """How many tiles are empty, mixed and full, by looking at every pair.

  Args:
    seen: bool ``T S``, neither of them 0.
    block: queries and keys of a tile; the last tiles may be smaller.

  >>> import numpy as np
  >>> tile_counts(np.tri(5, dtype=bool), (2, 2))
  {'empty': 3, 'mixed': 2, 'full': 4}
  """
  return _with_tiles(seen, block)[1]


def _with_tiles(
  seen: np.ndarray, block: tuple[int, int]
) -> tuple[np.ndarray, dict[str, int]]:
  """The colour of each pair, and the number of tiles of each kind."""
  starts = [range(0, n, b) for n, b in zip(seen.shape, block, strict=True)]

  def over(ufunc: np.ufunc) -> np.ndarray:
    rows = ufunc.reduceat(seen, starts[0], axis=0)
    return ufunc.reduceat(rows, starts[1], axis=1)

  some, every = over(np.logical_or), over(np.logical_and)
  counts = {
    "empty": int((~some).sum()),
    "mixed": int((some & ~every).sum()),
    "full": int(every.sum()),
  }

  spread = lambda x: np.kron(x, np.ones(block, bool))[
    : seen.shape[0], : seen.shape[1]
  ]
  code = np.where(seen, 2, np.where(spread(some), 1, 0))
  return np.where(spread(every), 3, code).astype(np.int8), counts


def _draw(axes, code: np.ndarray, block: tuple[int, int] | None) -> None:
  """The pairs as cells, with lines between tiles."""
  from matplotlib.colors import ListedColormap

  length, keys = code.shape
  axes.imshow(
    code, cmap=ListedColormap(_COLOURS), vmin=0, vmax=3,
    aspect="equal" if 0.25 <= length / keys <= 4 else "auto",
    interpolation="nearest", extent=(0, keys, length, 0),
  )  # fmt: skip
  style.quiet_axes(axes, sides=("left", "right", "top", "bottom"))
  axes.tick_params(labelsize=7.5)
  if block is None:
    return

  for line, size, step in (
    (axes.axhline, length, block[0]),
    (axes.axvline, keys, block[1]),
  ):
    # Thinner where there are many, or the lines would be the picture.
    width = 0.8 if size / step <= 40 else 0.2
    for place in range(step, size, step):
      line(place, color="#b9c0c9", linewidth=width)
