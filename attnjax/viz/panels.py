"""Drawing of attention panels: a grid of matrices on one colour scale."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attnjax.viz import style
from attnjax.viz.plain_text import write_plainly

if TYPE_CHECKING:
  import matplotlib.figure

__all__ = [
  "PanelLayout",
  "Panels",
  "label_fonts",
]


PanelLayout = Literal["rows", "columns"]
_MONO = "DejaVu Sans Mono"  # comes with matplotlib and has the glyphs needed
_SMALLEST_CELL = 0.13  # inches, the line of a label of 6.5 points


def label_fonts() -> list[str]:
  """Font families of the labels: a monospaced one, then those configured.

  >>> label_fonts()[0]
  'DejaVu Sans Mono'
  """
  style.require_matplotlib()
  from matplotlib import rcParams

  return [_MONO, *rcParams["font.family"]]


@dataclasses.dataclass(frozen=True)
class Panels:
  """The content of one figure, validated by `attention_figure`.

  Args:
    weights: "panels T S".
    queries: T labels.
    keys: S labels.
    titles: one a panel.
    layout: "rows" or "columns", see `attention_figure`.
    columns: panels side by side.
    largest: the weight drawn darkest; None scales each panel by itself.

  >>> import numpy as np
  >>> panels = Panels(np.eye(2)[None], ["a", "b"], ["c", "d"], [""], "rows", 1,
  ...                 1.0)
  >>> panels.across, panels.down
  (['c', 'd'], ['a', 'b'])
  """

  weights: np.ndarray
  queries: list[str]
  keys: list[str]
  titles: list[str]
  layout: PanelLayout
  columns: int
  largest: float | None

  @property
  def across(self) -> list[str]:
    """Labels of the horizontal axis."""
    return self.keys if self.layout == "rows" else self.queries

  @property
  def down(self) -> list[str]:
    """Labels of the vertical axis."""
    return self.queries if self.layout == "rows" else self.keys

  @property
  def lines(self) -> int:
    """Number of lines of panels."""
    return math.ceil(len(self.weights) / self.columns)

  @property
  def cell(self) -> float:
    """Width of a cell, inches; above 64 tokens the panel keeps its size."""
    longest = max(len(self.across), len(self.down))
    if longest > 64:
      return 64 * _SMALLEST_CELL / longest
    # Between 0.13 and 0.34 inch, for a panel of 3.2 inches.
    return min(0.34, max(_SMALLEST_CELL, 3.2 / longest))

  def draw(self) -> "matplotlib.figure.Figure":
    """Draws every panel, the labels of the outer ones and the colour bar."""
    figure = style.new_figure(*self._size())
    grid = figure.subplots(self.lines, self.columns, squeeze=False)
    image: Any = None

    for panel, axes in enumerate(grid.flat):
      if panel < len(self.weights):
        image = self._draw_panel(axes, panel)
      else:
        axes.remove()

    self._draw_scale(figure, list(grid.flat)[: len(self.weights)], image)
    write_plainly(figure)
    return figure

  def _draw_scale(
    self, figure: "matplotlib.figure.Figure", panels: list[Any], image: Any
  ) -> None:
    """Draws the colour bar, of one size in inches for any figure."""
    from matplotlib.ticker import MaxNLocator

    width, height = figure.get_size_inches()
    length = min(max(0.6 * self.lines * len(self.down) * self.cell, 1.2), 3.2)
    bar = figure.colorbar(
      image,
      ax=panels,
      # A bar 0.14 inch wide: colorbar takes parts of the figure's width.
      fraction=0.14 / width,
      aspect=length / 0.14,
      shrink=min(1.0, length / height),
      pad=0.14 / width,
      ticks=MaxNLocator(4),
    )
    bar.outline.set_visible(False)
    per_panel = self.largest is None
    text = "weight / largest of its panel" if per_panel else "attention weight"
    bar.set_label(text, color=style.QUIET, fontsize=9)
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=style.QUIET)

  def _size(self) -> tuple[float, float]:
    """Width and height of the figure, inches: cells, labels, titles, bar."""
    # 0.62: width of a character of the font over its size; 72 points an inch.
    character = 0.62 * self._font() / 72
    left = max(map(len, self.down)) * character + 0.35
    longest = max(map(len, self.across))
    label_height = (
      longest * character if longest > 1 else 0.2
    )  # they stand upright
    outer = label_height + 0.35
    width = self.columns * (len(self.across) * self.cell + 0.2) + left + 0.9
    height = self.lines * (len(self.down) * self.cell + 0.4) + outer
    return max(width, 3.0), max(height, 2.2)

  def _font(self) -> float:
    """Size of the labels, points."""
    return min(9.0, max(self.cell, _SMALLEST_CELL) * 72 * 0.7)

  def _draw_panel(self, axes: Any, panel: int) -> Any:
    """Draws one matrix with its title; returns the image."""
    weights = self.weights[panel]
    title, scale = self.titles[panel], self.largest
    if scale is None:
      scale = float(weights.max())
      title += f"  (largest {scale:.2g})"
      # Weights that are all 0 have nothing to be scaled by.
      weights = weights / (scale or 1.0)

    shown = weights if self.layout == "rows" else weights.T
    image = axes.imshow(
      shown,
      cmap=style.weight_colormap(),
      vmin=0.0,
      vmax=1.0 if self.largest is None else self.largest,
      # A cell is a weight: no colours between two of them.
      interpolation="nearest",
    )
    axes.set_title(title, fontsize=9, color=style.INK, pad=5)
    style.quiet_axes(axes, sides=("left", "right", "top", "bottom"))
    self._draw_grid(axes)
    self._label(axes, panel)

    return image

  def _draw_grid(self, axes: Any) -> None:
    """Draws thin lines between cells, in panels of up to 40 tokens."""
    if max(len(self.across), len(self.down)) > 40:
      return
    axes.set_xticks(np.arange(1, len(self.across)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(self.down)) - 0.5, minor=True)
    axes.grid(which="minor", color="#ececec", linewidth=0.5)
    axes.tick_params(which="minor", length=0)

  def _label(self, axes: Any, panel: int) -> None:
    """Tokens and axis names, on the outer panels only."""
    names = ("key", "query") if self.layout == "rows" else ("query", "key")
    upright = max(map(len, self.across)) == 1
    axes.xaxis.set_tick_params(top=True, labeltop=True, labelbottom=False)
    axes.xaxis.set_label_position("top")

    if panel < self.columns:
      self._ticks(axes.xaxis, self.across, 0 if upright else 90, names[0])
    else:
      axes.set_xticks([])

    if panel % self.columns == 0:
      self._ticks(axes.yaxis, self.down, 0, names[1])
    else:
      axes.set_yticks([])

  def _ticks(
    self, axis: Any, labels: list[str], rotation: int, name: str
  ) -> None:
    """Labels of one axis; past 64 tokens only every n-th."""
    # Less a little, for a rounding error would skip every second label.
    step = math.ceil(_SMALLEST_CELL / self.cell - 1e-9)
    axis.set_ticks(
      range(0, len(labels), step),
      labels[::step],
      rotation=rotation,
      fontsize=self._font(),
      fontfamily=label_fonts(),
    )
    axis.set_tick_params(length=0, pad=2)
    name += f" (every {step}th token)" if step > 1 else ""
    axis.set_label_text(name, fontsize=9, color=style.QUIET)
    axis.labelpad = 6
