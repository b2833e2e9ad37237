"""A mask as a picture: one head as an array, and as SVG for a notebook."""

import dataclasses
import html

import numpy as np

from attnjax.ops.grid import Grid
from attnjax.ops.masks.arrays import covered, realigned
from attnjax.ops.masks.protocol import Mask

__all__ = [
  "drawing",
  "one_head",
]

_CELL = 10  # pixels


def drawing(title: str, seen: np.ndarray | None, why: str = "") -> str:
  """HTML of a mask: its repr, and an SVG with a square per visible pair.

  Args:
    title: any text; it is escaped.
    seen: bool ``T S``, one row per query; None where there is no picture.
    why: the reason where there is no picture; it is escaped.

  >>> import numpy as np
  >>> drawing("a < b", np.eye(2, dtype=bool)).count("h1v1h-1z")
  2
  >>> drawing("<script>", None, "too large")
  '<div><code>&lt;script&gt;</code><br>too large</div>'
  """
  name = html.escape(title)
  if seen is None:
    return f"<div><code>{name}</code><br>{html.escape(why)}</div>"

  # One path of unit squares: thousands of elements would be slow to show.
  rows, columns = seen.shape
  cells = "".join(f"M{s} {t}h1v1h-1z" for t, s in np.argwhere(seen).tolist())
  return (
    f"<div><code>{name}</code><br>"
    f'<svg width="{columns * _CELL}" height="{rows * _CELL}"'
    f' viewBox="0 0 {columns} {rows}" role="img"'
    ' style="border:1px solid currentColor">'
    f"<title>{name}: rows are queries, columns are keys</title>"
    f'<path d="{cells}" fill="currentColor"/></svg></div>'
  )


def one_head(
  mask: Mask, query_length: int, key_length: int, batch: int = 0, head: int = 0
) -> np.ndarray:
  """Evaluates a mask for one batch row and one head, bool ``T S``.

  >>> from attnjax import masks
  >>> one_head(masks.causal(), 2, 2).tolist()
  [[True, False], [True, True]]
  """
  mask = covered(mask, query_length, key_length)
  mask = realigned(lambda x: _row(x, batch, head), mask)

  grid = Grid.of((1,), 1, query_length, key_length)
  grid = dataclasses.replace(
    grid, batch=grid.batch + batch, head=grid.head + head
  )
  shape = (1, 1, query_length, key_length)
  return np.broadcast_to(mask.visible(grid), shape)[0, 0]


def _row(array, batch: int, head: int):
  """One batch row and one head, ``T S``, of an array ``#B #H #T #S``."""
  array = array.reshape((1,) * (3 - np.ndim(array)) + np.shape(array))
  array = array.reshape((-1, *array.shape[-3:]))
  array = array[batch if array.shape[0] > 1 else 0]
  return array[head if array.shape[0] > 1 else 0]
