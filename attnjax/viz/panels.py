"""Drawing of attention panels: a grid of matrices on one colour scale."""

import dataclasses
import math
import textwrap
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attnjax.viz import style
from attnjax.viz.plain_text import families_for, write_plainly

if TYPE_CHECKING:
  import matplotlib.figure

__all__ = [
  "PAGE",
  "PanelLayout",
  "Panels",
  "label_fonts",
]


PanelLayout = Literal["rows", "columns"]
PAGE = (7.0, 9.2)  # inches: the text of A4 and of US letter
_MONO = "DejaVu Sans Mono"  # comes with matplotlib and has the glyphs needed
_LARGEST_CELL = 0.34  # inches
_SMALLEST_FONT, _LARGEST_FONT = 6.0, 9.0  # points
_AXIS, _GAP, _BAR, _TITLE = 0.35, 0.1, 0.8, 0.17  # inches
_POINTS = 72  # an inch


def label_fonts(labels: Iterable[str] = ()) -> list[str]:
  """Font families of labels: a monospaced one, those configured, and others.

  Args:
    labels: texts, for whose characters other fonts are added if need be.

  >>> label_fonts()[0]
  'DejaVu Sans Mono'
  """
  style.require_matplotlib()
  from matplotlib import rcParams

  return families_for("".join(labels), [_MONO, *rcParams["font.family"]])


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
    page: width and height that the figure fits, inches.

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
  page: tuple[float, float] = PAGE

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

  def draw(self) -> "matplotlib.figure.Figure":
    """Draws every panel, the labels of the outer ones and the colour bar."""
    place = self._place()
    figure = style.new_figure(place.width, place.height)
    grid = figure.subplots(self.lines, self.columns, squeeze=False)
    image: Any = None

    for panel, axes in enumerate(grid.flat):
      if panel < len(self.weights):
        image = self._draw_panel(axes, panel, place)
      else:
        axes.remove()

    panels = list(grid.flat)[: len(self.weights)]
    own = self.largest is None
    text = "weight / largest of its panel" if own else "attention weight"
    length = min(
      max(0.6 * self.lines * len(self.down) * place.cell[1], 1.2), 3.0
    )
    style.draw_colour_bar(figure, image, panels, text, length=length)
    if not self._fits_names(place):
      across, down = self._names(place)
      figure.supxlabel(
        f"{down} down, {across} across", fontsize=8, color=style.QUIET
      )
    write_plainly(figure)
    # Titles move above the labels of their axis as they are drawn, and only a
    # second layout makes room for them there.
    figure.draw_without_rendering()
    return figure

  def _place(self) -> "_Place":
    """Sizes with which the figure fits its page.

    Cells are square where the labels are legible so; else they are as wide or
    as high as a label needs, for as long as the page has room.
    """
    for font in np.arange(_LARGEST_FONT, _SMALLEST_FONT - 0.1, -0.5):
      place = self._place_at(float(font))
      if place.steps == (1, 1):
        break
    return place

  def _place_at(self, font: float) -> "_Place":
    """Sizes with labels of so many points."""
    longest = [max(map(_ems, x)) for x in (self.across, self.down)]
    upright = max(map(len, self.across)) == 1
    em = font / _POINTS
    top = (1.2 if upright else longest[0]) * em + _AXIS
    left = longest[1] * em + _AXIS
    needs = (0.85 if upright else 1.15) * em, 1.15 * em

    # Labels are drawn whole: where they fill the page, the figure exceeds it.
    page = (max(self.page[0], left + 3), max(self.page[1], top + 3))
    count = self.columns * len(self.across), self.lines * len(self.down)
    rooms = (
      page[0] - left - _BAR - self.columns * _GAP,
      page[1] - top - self.lines * (_TITLE + _GAP),
    )
    most = [
      min(_LARGEST_CELL, max(room, 0.5) / n)
      for room, n in zip(rooms, count, strict=True)
    ]
    square = min(most)
    cell = [
      min(size, max(square, need))
      for size, need in zip(most, needs, strict=True)
    ]
    taken = [size * n for size, n in zip(cell, count, strict=True)]
    # Less a little, for a rounding error would skip every second label.
    steps = [
      math.ceil(need / size - 1e-9)
      for need, size in zip(needs, cell, strict=True)
    ]
    return _Place(
      max(page[0] - rooms[0] + taken[0], 3.0),
      max(page[1] - rooms[1] + taken[1], 2.0),
      font,
      (cell[0], cell[1]),
      (steps[0], steps[1]),
    )

  def _draw_panel(self, axes: Any, panel: int, place: "_Place") -> Any:
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
      aspect="equal" if place.cell[0] == place.cell[1] else "auto",
    )
    size = self._title_size(place)
    wrapped = "\n".join(_lines(title, self._width(place), size))
    axes.set_title(wrapped, fontsize=size, color=style.INK, pad=4)
    style.quiet_axes(axes, sides=("left", "right", "top", "bottom"))
    self._draw_grid(axes, place)
    self._label(axes, panel, place)

    return image

  def _width(self, place: "_Place") -> float:
    """Width of a panel and the gap beside it, inches."""
    return place.cell[0] * len(self.across) + _GAP

  def _title_size(self, place: "_Place") -> float:
    """The largest font with which no title needs a second line, points."""
    for size in (8.5, 7.5):
      titles = [_lines(x, self._width(place), size) for x in self.titles]
      if max(map(len, titles)) == 1:
        return size
    return 6.5

  def _names(self, place: "_Place") -> tuple[str, str]:
    """Names of the axes, across and down; with what is not written there."""
    names = ("key", "query") if self.layout == "rows" else ("query", "key")
    every = [f" (every {_ordinal(n)})" if n > 1 else "" for n in place.steps]
    return names[0] + every[0], names[1] + every[1]

  def _fits_names(self, place: "_Place") -> bool:
    """Whether each outer panel has room for the names of its axes."""
    sizes = len(self.across) * place.cell[0], len(self.down) * place.cell[1]
    names = self._names(place)
    return all(
      0.58 * 8 / _POINTS * len(name) < size + _GAP
      for name, size in zip(names, sizes, strict=True)
    )

  def _draw_grid(self, axes: Any, place: "_Place") -> None:
    """Draws thin lines between cells, where these are large beside them."""
    if min(place.cell) < 0.07:
      return
    axes.set_xticks(np.arange(1, len(self.across)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(self.down)) - 0.5, minor=True)
    axes.grid(which="minor", color="#ececec", linewidth=0.5)
    axes.tick_params(which="minor", length=0)

  def _label(self, axes: Any, panel: int, place: "_Place") -> None:
    """Tokens and axis names, on the outer panels only."""
    names = self._names(place) if self._fits_names(place) else ("", "")
    upright = max(map(len, self.across)) == 1
    axes.xaxis.set_tick_params(top=True, labeltop=True, labelbottom=False)
    axes.xaxis.set_label_position("top")

    if panel < self.columns:
      turned = 0 if upright else 90
      self._ticks(axes.xaxis, self.across, turned, names[0], place, 0)
    else:
      axes.set_xticks([])

    if panel % self.columns == 0:
      self._ticks(axes.yaxis, self.down, 0, names[1], place, 1)
    else:
      axes.set_yticks([])

  def _ticks(
    self,
    axis: Any,
    labels: list[str],
    rotation: int,
    name: str,
    place: "_Place",
    which: int,
  ) -> None:
    """Labels of one axis; where there is no room only every n-th."""
    step = place.steps[which]
    axis.set_ticks(
      range(0, len(labels), step),
      labels[::step],
      rotation=rotation,
      fontsize=place.font,
      fontfamily=label_fonts(labels),
    )
    axis.set_tick_params(length=0, pad=2)
    axis.set_label_text(name, fontsize=8, color=style.QUIET)
    axis.labelpad = 4


@dataclasses.dataclass(frozen=True)
class _Place:
  """Sizes of a figure of panels: inches, and points of its labels."""

  width: float
  height: float
  font: float
  cell: tuple[float, float]
  steps: tuple[int, int]  # between labels across and down


def _ems(text: str) -> float:
  """Width of a label over the size of its font; of most letters 0.602."""
  wide = [unicodedata.east_asian_width(x) in "WF" for x in text]
  return 0.602 * len(wide) + 0.4 * sum(wide)


def _lines(title: str, width: float, size: float) -> list[str]:
  """A title broken into lines that fit a panel, in a font of so many points."""
  most = max(int(width * _POINTS / (0.58 * size)), 4)
  return textwrap.wrap(title, most) or [title]


def _ordinal(number: int) -> str:
  """A number with the letters that make it an ordinal.

  >>> [_ordinal(n) for n in (2, 3, 4, 11, 21, 112)]
  ['2nd', '3rd', '4th', '11th', '21st', '112th']
  """
  teens = number % 100 in (11, 12, 13)
  ends = {1: "st", 2: "nd", 3: "rd"}
  return f"{number}{'th' if teens else ends.get(number % 10, 'th')}"
