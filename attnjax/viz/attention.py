"""Figures of attention weights: one panel a head, tokens on both axes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attnjax.viz import style
from attnjax.viz.captured import chosen
from attnjax.viz.panels import PAGE, PanelLayout, Panels, label_fonts
from attnjax.viz.plain_text import drawable
from attnjax.viz.tokens import LONGEST_DRAWN, Token, visible_all

if TYPE_CHECKING:
  import matplotlib.figure

__all__ = [
  "attention_figure",
  "save_attention",
]


_TOLERANCE = 1e-2  # of a row's sum: bfloat16 has 8 bits


def attention_figure(
  weights: Any,
  query_tokens: Sequence[Token],
  key_tokens: Sequence[Token] | None = None,
  *,
  layout: PanelLayout = "rows",
  titles: Sequence[str] | None = None,
  columns: int | None = None,
  largest: float | None = 1.0,
  queries: Sequence[int] | None = None,
  keys: Sequence[int] | None = None,
  longest: int | None = LONGEST_DRAWN,
  page: tuple[float, float] = PAGE,
) -> "matplotlib.figure.Figure":
  """Draws attention weights, one panel a head, on one colour scale.

  White is a weight of 0, so that hidden keys have the colour of the paper. The
  tokens are on the outer panels; spaces, newlines and lone bytes are glyphs.
  The figure fits a page. Of a sentence that leaves no room for its labels every
  n-th is written, which the axis says; choose some of its rows by `queries`.

  Args:
    weights: "H T S" or "L H T S", in [0, 1]; those of sigmoids need not sum to
      1. Four axes give one line of panels a layer.
    query_tokens: T tokens: text, bytes or ints.
    key_tokens: S tokens; None means the queries' own.
    layout: "rows" has queries on the left and rows that sum to 1; "columns" is
      its transpose, queries on top and columns that sum to 1.
    titles: one a panel; None numbers the heads (and layers) from 0.
    columns: panels side by side; None makes the grid nearly square, or H wide
      where there are layers.
    largest: the weight drawn darkest in every panel; None gives each panel its
      own scale, up to its largest weight, which its title then states.
    queries: indices of the queries to draw, negative ones from the end; None
      draws all.
    keys: indices of the keys to draw; weight on the others is not seen.
    longest: characters of a token that are written; None writes all of it.
    page: width and height that the figure fits, inches; it exceeds them only
      where the labels alone fill them.

  Returns:
    A matplotlib Figure, to save or to display.

  Raises:
    ValueError: shapes disagree, an index is outside, a weight is negative, more
      than 1 or not finite, or columns sum to 1 where rows do not.
    ImportError: matplotlib is not installed.

  >>> import numpy as np
  >>> figure = attention_figure(np.eye(3)[None], "abc")
  >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
  ['a', 'b', 'c']

  Reference: the layout "columns" is that of G. Sanderson, Attention in
  transformers, step-by-step (3Blue1Brown), 2024.
  """
  # Everything is validated before matplotlib draws anything.
  panels, heads = _validate_weights(weights)
  labels = _validate_tokens(panels, query_tokens, key_tokens, longest)
  names = _titles(panels, heads, np.ndim(weights) == 4, titles)
  columns = _columns(len(panels), heads, np.ndim(weights) == 4, columns)
  if layout not in ("rows", "columns"):
    raise ValueError(f'layout={layout!r}: expected "rows" or "columns"')
  if largest is not None and not largest > 0:
    raise ValueError(f"largest={largest}: expected a weight above 0 or None")

  rows = chosen("queries", queries, panels.shape[1])
  held = chosen("keys", keys, panels.shape[2])
  return Panels(
    panels[:, rows][:, :, held],
    [labels[0][t] for t in rows],
    [labels[1][s] for s in held],
    names,
    layout,
    columns,
    largest,
    page,
  ).draw()


def save_attention(
  path: str | Path,
  weights: Any,
  query_tokens: Sequence[Token],
  key_tokens: Sequence[Token] | None = None,
  **options: Any,
) -> Path:
  """Saves the figure of `attention_figure`; the suffix is the format.

  Args:
    path: file to write (.png, .pdf, .svg); its directory is made if missing.
    weights: as for `attention_figure`, and so are the arguments that follow.
    query_tokens: T tokens.
    key_tokens: S tokens; None means the queries' own.
    **options: keyword arguments of `attention_figure`.

  Returns:
    The path written.

  >>> import numpy as np
  >>> import tempfile
  >>> path = f"{tempfile.mkdtemp()}/weights.png"
  >>> save_attention(path, np.eye(2)[None], "ab").stat().st_size > 0
  True
  """
  figure = attention_figure(weights, query_tokens, key_tokens, **options)
  return style.save_figure(figure, path)


def _validate_weights(weights: Any) -> tuple[np.ndarray, int]:
  """Weights as float64 "panels T S", and the number of heads."""
  # Wide, for rows of bfloat16 would round once more as they are summed.
  array = np.asarray(weights).astype(np.float64)
  if array.ndim not in (3, 4) or 0 in array.shape:
    raise ValueError(
      f'weights: expected axes "H T S" or "L H T S", none of them empty, got'
      f" shape {array.shape}; index the batch first"
    )

  if not np.isfinite(array).all() or array.min() < -_TOLERANCE:
    raise ValueError(
      "weights: expected finite values that are at least 0, got"
      f" {array.min()} to {array.max()}; pass weights, not logits"
    )

  sums, down = array.sum(axis=-1), array.sum(axis=-2)
  if sums.max() > 1 + _TOLERANCE and (abs(down - 1) <= _TOLERANCE).all():
    raise ValueError(
      "weights: expected rows (axis S, the last) that sum to 1, and the columns"
      f" do, rows to {sums.max():.3f}; are the query and key axes swapped?"
    )
  if array.max() > 1 + _TOLERANCE:
    raise ValueError(
      f"weights: expected at most 1, got {array.max():.3g}; divide them by"
      " their sums"
    )

  return array.reshape(-1, *array.shape[-2:]), array.shape[-3]


def _validate_tokens(
  panels: np.ndarray,
  query_tokens: Sequence[Token],
  key_tokens: Sequence[Token] | None,
  longest: int | None,
) -> tuple[list[str], list[str]]:
  """Labels of queries and keys, as many as their axes are long."""
  texts = []
  for axis, name, tokens in (
    (1, "query_tokens", query_tokens),
    (2, "key_tokens", query_tokens if key_tokens is None else key_tokens),
  ):
    if len(tokens) != panels.shape[axis]:
      raise ValueError(
        f"{name}: expected {panels.shape[axis]} tokens (axis {'_TS'[axis]} of"
        f" the weights), got {len(tokens)}"
      )
    labels = visible_all(tokens, longest=longest)
    fonts = label_fonts(labels)
    texts.append([drawable(x, fonts, longest=longest) for x in labels])

  return texts[0], texts[1]


def _titles(
  panels: np.ndarray, heads: int, layers: bool, titles: Sequence[str] | None
) -> list[str]:
  """The titles of the panels; numbers of layers and heads by default."""
  if titles is None:
    numbers = [divmod(panel, heads) for panel in range(len(panels))]
    place = "layer {}, head {}" if layers else "head {1}"
    return [place.format(*number) for number in numbers]
  if len(titles) != len(panels):
    raise ValueError(
      f"titles: expected {len(panels)}, one a panel, got {len(titles)}"
    )
  return list(titles)


def _columns(panels: int, heads: int, layers: bool, columns: int | None) -> int:
  """Number of panels side by side."""
  if columns is None:
    return heads if layers else math.ceil(math.sqrt(panels))
  if columns < 1:
    raise ValueError(f"columns={columns}: expected at least 1")
  return min(columns, panels)
