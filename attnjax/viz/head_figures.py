"""Figures of all heads at once: their patterns, or one number of each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attnjax.viz import style
from attnjax.viz.plain_text import write_plainly

if TYPE_CHECKING:
  import matplotlib.figure

__all__ = ["head_overview_figure", "head_values_figure"]

_WIDTH = 7.0  # inches, of the text of a page


def head_overview_figure(weights: Any) -> "matplotlib.figure.Figure":
  """Draws the pattern of every head, layers down and heads across.

  A page shows 12 layers of 12 heads. Each pattern is as dark as its own largest
  weight; its shape says what kind of head it is (the previous token, the first
  one, itself), and `attention_figure` shows the few that are worth a label.

  Args:
    weights: ``L H T S``, of one batch row.

  Raises:
    ValueError: weights have other axes, an empty one, or negative values.
    ImportError: matplotlib is not installed.

  >>> import numpy as np
  >>> figure = head_overview_figure(np.full((2, 3, 5, 5), 0.2))
  >>> len(figure.axes)
  6
  """
  array = np.asarray(weights).astype(np.float64)
  if array.ndim != 4 or 0 in array.shape:
    raise ValueError(
      "weights must be L H T S with no axis empty, got shape"
      f" {list(array.shape)}; index the batch first"
    )
  if not np.isfinite(array).all() or array.min() < -1e-2:
    raise ValueError(
      "weights must be finite and at least 0; pass weights, not logits"
    )

  layers, heads, length, keys = array.shape
  side = min(0.9, (_WIDTH - 0.5) / heads - 0.06)
  high = min(side * length / keys, 9.0 / layers - 0.06)
  figure = style.new_figure(
    heads * (side + 0.06) + 0.5, layers * (high + 0.06) + 0.5
  )
  engine: Any = figure.get_layout_engine()
  engine.set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
  grid = figure.subplots(layers, heads, squeeze=False)

  for (layer, head), axes in np.ndenumerate(grid):
    own = array[layer, head]
    axes.imshow(
      own,
      cmap=style.weight_colormap(),
      vmin=0,
      vmax=float(own.max()) or 1.0,
      interpolation="nearest" if length < 100 else "antialiased",
      aspect="auto",
    )
    axes.set_xticks([])
    axes.set_yticks([])
    style.quiet_axes(axes, sides=("left", "right", "top", "bottom"))
    if layer == 0:
      axes.set_title(str(head), fontsize=8, color=style.INK, pad=2)
    if head == 0:
      axes.set_ylabel(
        str(layer), fontsize=8, color=style.INK, rotation=0, ha="right",
        va="center",
      )  # fmt: skip

  figure.suptitle("head", fontsize=8, color=style.QUIET)
  figure.supylabel("layer", fontsize=8, color=style.QUIET)
  write_plainly(figure)
  return figure


def head_values_figure(
  values: Any,
  *,
  label: str,
  layers: Sequence[str] | None = None,
  limits: tuple[float, float] | None = None,
  decimals: int = 2,
) -> "matplotlib.figure.Figure":
  """Draws one number of every head as a heat map, layers down, heads across.

  Numbers that may be negative, such as the change of a loss when a head is
  silenced, are red above 0 and blue below, on a scale that is the same to both
  sides.

  Args:
    values: ``L H``; NaN, as of a head that a layer lacks, is left white.
    label: what is drawn, with its unit.
    layers: names of the layers; None numbers them from 0.
    limits: values of the lightest and of the darkest colour; None is 0 to the
      largest, or the largest size to both sides.
    decimals: of the numbers that are written.

  Raises:
    ValueError: values have other axes or none is finite, or names are not as
      many as the layers.
    ImportError: matplotlib is not installed.

  >>> figure = head_values_figure([[0.5, 1.0]], label="entropy, nats")
  >>> [text.get_text() for text in figure.axes[0].texts]
  ['0.50', '1.00']
  """
  array = np.asarray(values, np.float64)
  if array.ndim != 2 or not np.isfinite(array).any():
    raise ValueError(
      "values must be L H with a finite number, got shape"
      f" {list(array.shape)}; index batch and statistic first"
    )
  names = [str(n) for n in range(len(array))] if layers is None else [*layers]
  if len(names) != len(array):
    raise ValueError(f"layers must be {len(array)} names, got {len(names)}")

  low, high = _limits(array) if limits is None else limits
  cell = min(0.5, (_WIDTH - 1.5) / array.shape[1])
  figure = style.new_figure(
    max(cell * array.shape[1] + 1.5, 3.0), max(0.3 * len(array) + 0.8, 2.0)
  )
  axes = figure.subplots()
  colours = _both_sides() if low < 0 else style.weight_colormap()
  image = axes.imshow(array, cmap=colours, vmin=low, vmax=high, aspect="auto")

  axes.set_xticks(range(array.shape[1]))
  axes.set_yticks(range(len(names)), names)
  axes.set_xlabel("head", fontsize=8, color=style.QUIET)
  axes.set_ylabel("layer", fontsize=8, color=style.QUIET)
  axes.tick_params(labelsize=8)
  style.quiet_axes(axes, sides=())
  _write_numbers(axes, image, array, min(7.5, 72 * cell / 3.2), decimals)
  style.draw_colour_bar(figure, image, [axes], label)
  write_plainly(figure)
  return figure


def _limits(array: np.ndarray) -> tuple[float, float]:
  """Values of the ends of the scale."""
  finite = array[np.isfinite(array)]
  most = float(np.abs(finite).max()) or 1.0
  return (-most if finite.min() < 0 else 0.0), most


def _both_sides() -> Any:
  """Colours from blue through white to red, for numbers around 0."""
  from matplotlib.colors import LinearSegmentedColormap

  shades = ["#2e4a95", "#82cdea", "#ffffff", "#f0a6a0", "#b3202f"]
  return LinearSegmentedColormap.from_list("both sides", shades)


def _write_numbers(
  axes: Any, image: Any, array: np.ndarray, font: float, decimals: int
) -> None:
  """Writes the number of each head in its cell."""
  for (layer, head), value in np.ndenumerate(array):
    if np.isfinite(value):
      axes.text(
        head, layer, f"{value:.{decimals}f}", ha="center", va="center",
        fontsize=font, color=style.ink_on(image.to_rgba(value)),
      )  # fmt: skip
