"""A mask drawn as SVG, as a notebook shows it."""

import html

import numpy as np

__all__ = ["drawing"]

_CELL = 10  # pixels


def drawing(title: str, seen: np.ndarray | None, why: str = "") -> str:
  """HTML of a mask: how it was made, and a square for each pair that is seen.

  Args:
    title: any text; it is escaped.
    seen: bool ``T S``, a row a query; None where there is no picture.
    why: there is none; escaped too.

  >>> drawing("a < b", np.eye(2, dtype=bool)).count("h1v1h-1z")
  2
  >>> drawing("<script>", None, "too large")
  '<div><code>&lt;script&gt;</code><br>too large</div>'
  """
  name = html.escape(title)
  if seen is None:
    return f"<div><code>{name}</code><br>{html.escape(why)}</div>"
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
