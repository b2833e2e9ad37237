"""Figure of attention rollout: where one token's information came from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attnjax.viz import style
from attnjax.viz.captured import chosen
from attnjax.viz.panels import Panels, label_fonts
from attnjax.viz.plain_text import drawable
from attnjax.viz.tokens import LONGEST_DRAWN, Token, visible_all

if TYPE_CHECKING:
  import matplotlib.figure

__all__ = ["rollout_figure"]


def rollout_figure(
  shares: Any,
  tokens: Sequence[Token],
  *,
  query: int = -1,
  largest: float | None = None,
) -> "matplotlib.figure.Figure":
  """Draws how much of each input token is in one token, a row a layer.

  Args:
    shares: ``L T T``, from `rollout`, of one batch row.
    tokens: T tokens.
    query: index of the token that is followed; negative ones from the end.
    largest: the share drawn darkest; None is the largest there is.

  Raises:
    ValueError: shares are not ``L T T`` for so many tokens, or a row does not
      sum to 1.
    ImportError: matplotlib is not installed.

  >>> import numpy as np
  >>> from attnjax.viz import rollout
  >>> shares = rollout([np.eye(3, k=-1)[None]] * 2)
  >>> figure = rollout_figure(shares, "abc")
  >>> figure.axes[0].images[0].get_array().tolist()
  [[0.0, 0.5, 0.5], [0.25, 0.5, 0.25]]

  Reference:
    Abnar, Zuidema, "Quantifying Attention Flow in Transformers", 2020, arXiv
    2005.00928.
  """
  array = np.asarray(shares).astype(np.float64)
  count = len(tokens)
  if array.ndim != 3 or array.shape[1:] != (count, count) or 0 in array.shape:
    raise ValueError(
      f"shares must be L T T for {count} tokens, got shape"
      f" {list(array.shape)}; viz.rollout makes them"
    )
  if not np.allclose(array.sum(-1), 1, atol=1e-2):
    raise ValueError(
      "shares must have rows that sum to 1, as viz.rollout makes them"
    )

  (place,) = chosen("query", [query], count)
  texts = visible_all(tokens, longest=LONGEST_DRAWN)
  fonts = label_fonts(texts)
  labels = [drawable(x, fonts, longest=LONGEST_DRAWN) for x in texts]
  rows = array[:, place]
  figure = Panels(
    rows[None],
    [str(layer) for layer in range(len(rows))],
    labels,
    [f"what is in “{labels[place]}” after each layer"],
    "rows",
    1,
    float(rows.max()) if largest is None else largest,
  ).draw()

  panel, bar = figure.axes
  panel.set_xlabel("input token", fontsize=8, color=style.QUIET)
  panel.set_ylabel("layer", fontsize=8, color=style.QUIET)
  bar.set_ylabel("share", fontsize=8, color=style.QUIET)
  return figure
