"""Figure of an alignment: lines between two sentences, wide by weight."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attnjax.viz import style
from attnjax.viz.panels import label_fonts
from attnjax.viz.plain_text import drawable, write_plainly
from attnjax.viz.tokens import Token, visible_all

if TYPE_CHECKING:
  import matplotlib.figure

__all__ = ["alignment_figure"]

_WIDTH, _FONT = 7.0, 8.5  # inches, points
_HIGH = 0.17  # inches, of a token
_LONGEST = 24  # characters of a token: two columns of them and lines between


def alignment_figure(
  weights: Any,
  query_tokens: Sequence[Token],
  key_tokens: Sequence[Token] | None = None,
  *,
  least: float = 0.05,
  names: tuple[str, str] = ("query", "key"),
  title: str | None = None,
) -> "matplotlib.figure.Figure":
  """Draws one head as lines from each query (left) to what it attends to.

  The width and the darkness of a line are the weight. Sentences are read from
  the top; a token is drawn whole.

  Args:
    weights: ``T S``, at least 0, of one head or a mean of heads.
    query_tokens: T tokens.
    key_tokens: S tokens; None means the queries' own.
    least: weights below it are left out, in [0, 1).
    names: of the two sentences.
    title: above the figure; None writes nothing.

  Raises:
    ValueError: weights are not ``T S`` for so many tokens, or negative.
    ImportError: matplotlib is not installed.

  >>> import numpy as np
  >>> figure = alignment_figure(np.eye(3), "abc", "xyz")
  >>> len(figure.axes[0].lines)
  3

  Reference: lines between tokens are those of Vig, "A Multiscale Visualization
  of Attention in the Transformer Model", 2019, arXiv 1906.05714.
  """
  array = np.asarray(weights).astype(np.float64)
  keys = query_tokens if key_tokens is None else key_tokens
  if array.shape != (len(query_tokens), len(keys)) or 0 in array.shape:
    raise ValueError(
      f"weights must be T S for {len(query_tokens)} and {len(keys)} tokens, got"
      f" shape {list(array.shape)}; choose a head, or average them"
    )
  if not np.isfinite(array).all() or array.min() < -1e-2:
    raise ValueError(
      "weights must be finite and at least 0; pass weights, not logits"
    )
  if not 0 <= least < 1:
    raise ValueError(f"least must be in [0, 1), got {least}")

  longest = max(array.shape)
  figure = style.new_figure(_WIDTH, _HIGH * longest + 0.6)
  axes = figure.subplots()
  _draw_lines(axes, array, least)
  for x, align, tokens in ((0, "right", query_tokens), (1, "left", keys)):
    labels = visible_all(tokens, longest=_LONGEST)
    fonts = label_fonts(labels)
    for place, text in enumerate(labels):
      axes.text(
        x + (0.02 if x else -0.02), -place,
        drawable(text, fonts, longest=_LONGEST),
        ha=align, va="center", fontsize=_FONT, color=style.INK,
        fontfamily=fonts,
      )  # fmt: skip
    axes.text(
      x + (0.02 if x else -0.02), 1.2, names[x], ha=align, va="center",
      fontsize=8, color=style.QUIET,
    )  # fmt: skip

  axes.set_xlim(0, 1)
  axes.set_ylim(-longest + 0.4, 1.7)
  axes.axis("off")
  if title is not None:
    axes.set_title(title, fontsize=9, color=style.INK)
  write_plainly(figure)
  return figure


def _draw_lines(axes: Any, array: np.ndarray, least: float) -> None:
  """A line a pair, the strongest last, and so on top."""
  colours = style.weight_colormap()
  pairs = np.argwhere(array > least)
  order = np.argsort(array[tuple(pairs.T)], kind="stable")
  for t, s in pairs[order].tolist():
    w = float(array[t, s])
    axes.plot(
      [0, 1], [-t, -s], color=colours(0.25 + 0.6 * min(w, 1.0)),
      linewidth=0.4 + 3 * w, solid_capstyle="butt",
    )  # fmt: skip
