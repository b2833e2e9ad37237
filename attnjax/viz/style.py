"""Style of all figures: figure factory, colours, axes, and saving."""

import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnjax.extras import needs_extra
from attnjax.viz.plain_text import write_plainly

if TYPE_CHECKING:
  import matplotlib.colors
  import matplotlib.figure

__all__ = [
  "INK",
  "PALETTE",
  "QUIET",
  "RULE",
  "SHADES",
  "draw_colour_bar",
  "ink_on",
  "label_axes",
  "line_look",
  "new_figure",
  "quiet_axes",
  "require_matplotlib",
  "save_figure",
  "weight_colormap",
]


INK, QUIET, RULE = "#222222", "#777777", "#d9d9d9"
PALETTE = (
  *("#2e6ab6", "#d1495b", "#2a9d8f", "#8d5fb0", "#c98a1b", "#5c6770"),
  *("#5bb8e8", "#7a3b1e", "#e38fc6", "#1a1a1a"),
)
# A line is told from another without its colour too, in print and by eyes that
# see few colours.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
_DASHES = ("-", "--", ":")
# Type 42 embeds fonts as they are: publishers refuse Type 3. Without a date and
# with one salt, the same figure is the same bytes.
_SETTINGS: Any = {
  "pdf.fonttype": 42,
  "ps.fonttype": 42,
  "svg.hashsalt": "attnjax",
}
_NO_DATE = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}

# White to navy. The lightness of OKLab falls in equal steps, so that twice the
# weight looks twice as dark and a hidden key is the colour of the paper.
SHADES = (
  "#ffffff",
  "#bce9f3",
  "#82cdea",
  "#52aee0",
  "#358ccf",
  "#2e6ab6",
  "#2e4a95",
  "#292e6d",
  "#1d1742",
)


def new_figure(width: float, height: float) -> "matplotlib.figure.Figure":
  """An empty white figure, not registered with pyplot.

  Args:
    width: inches.
    height: inches.

  Raises:
    ImportError: matplotlib is not installed.

  >>> new_figure(4.0, 3.0).get_size_inches().tolist()
  [4.0, 3.0]
  """
  require_matplotlib()
  from matplotlib.backends.backend_agg import FigureCanvasAgg

  # The constrained layout makes room for labels outside of the axes.
  figure = _figure_type()(
    figsize=(width, height), dpi=150, facecolor="white", layout="constrained"
  )
  # Attaches itself to the figure, which `savefig` needs without pyplot.
  FigureCanvasAgg(figure)
  return figure


@functools.cache
def _figure_type() -> Any:
  """A Figure that a notebook shows, which else asks pyplot for it."""
  from matplotlib.figure import Figure

  class ShownFigure(Figure):
    def _repr_png_(self) -> bytes:
      drawn = io.BytesIO()
      self.savefig(drawn, format="png", facecolor="white")
      return drawn.getvalue()

  return ShownFigure


def line_look(index: int) -> dict[str, str]:
  """Colour, marker and dashes of the line of a number; thirty all differ.

  Args:
    index: from 0.

  >>> looks = [tuple(line_look(n).values()) for n in range(30)]
  >>> len(set(looks)), line_look(0)["color"] == PALETTE[0]
  (30, True)
  """
  again, place = divmod(index, len(PALETTE))
  return {
    "color": PALETTE[place],
    "marker": _MARKERS[place],
    "linestyle": _DASHES[again % len(_DASHES)],
  }


def ink_on(color: tuple[float, ...]) -> str:
  """White or dark, whichever is easier to read on a colour.

  Args:
    color: red, green and blue, 0 to 1; more is not looked at.

  >>> ink_on((0.1, 0.1, 0.4)), ink_on((0.5, 0.8, 0.9)) == INK
  ('white', True)
  """
  linear = [
    x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
    for x in color[:3]
  ]
  # Relative luminance, as the contrast of the Web's guidelines (WCAG 2).
  light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
  return "white" if light < 0.179 else INK


def require_matplotlib() -> None:
  """Raises an ImportError that names the extra, without matplotlib.

  >>> require_matplotlib()
  """
  with needs_extra("viz", "figures need matplotlib"):
    import matplotlib.figure  # noqa: F401


def weight_colormap() -> "matplotlib.colors.Colormap":
  """Colour map from white (0) to navy (1), in equal steps of lightness.

  >>> weight_colormap()(0.0)[:3] == (1.0, 1.0, 1.0)
  True
  """
  from matplotlib.colors import LinearSegmentedColormap

  return LinearSegmentedColormap.from_list("attention", SHADES)


def draw_colour_bar(
  figure: "matplotlib.figure.Figure",
  image: Any,
  panels: list[Any],
  text: str,
  *,
  length: float = 2.4,
) -> Any:
  """Draws a colour bar of one size in inches, whatever that of the figure.

  Args:
    figure: that has the panels.
    image: what it explains.
    panels: axes that it stands beside.
    text: its name, with the unit.
    length: inches, at most the height of the figure.

  >>> figure = new_figure(4.0, 3.0)
  >>> axes = figure.subplots()
  >>> bar = draw_colour_bar(figure, axes.imshow([[1.0]]), [axes], "weight")
  >>> bar.ax.get_ylabel()
  'weight'
  """
  from matplotlib.ticker import MaxNLocator

  width, height = figure.get_size_inches()
  bar = figure.colorbar(
    image,
    ax=panels,
    # A bar 0.12 inch wide: colorbar takes parts of the figure's width.
    fraction=0.12 / width,
    aspect=length / 0.12,
    shrink=min(1.0, length / height),
    pad=0.12 / width,
    ticks=MaxNLocator(4),
  )
  bar.outline.set_visible(False)
  bar.set_label(text, color=QUIET, fontsize=8)
  bar.ax.tick_params(length=0, labelsize=7.5, labelcolor=QUIET)
  return bar


def quiet_axes(axes: Any, *, sides: tuple[str, ...]) -> None:
  """Leaves only the spines named and makes them thin and grey.

  Args:
    axes: matplotlib axes.
    sides: which of "left", "bottom", "top", "right" to keep.

  >>> axes = new_figure(4.0, 3.0).subplots()
  >>> quiet_axes(axes, sides=("left",))
  >>> axes.spines["left"].get_visible(), axes.spines["top"].get_visible()
  (True, False)
  """
  for side, spine in axes.spines.items():
    spine.set_visible(side in sides)
    spine.set_color(RULE)
    spine.set_linewidth(0.8)
  axes.tick_params(length=0, labelcolor=INK)


def label_axes(
  axes: Any, x_label: str, y_label: str, title: str | None, *, font: float
) -> None:
  """Names the axes of a plot of lines, with a light horizontal grid.

  Args:
    axes: matplotlib axes.
    x_label: name of the horizontal axis.
    y_label: name of the vertical axis.
    title: above the axes; None writes nothing.
    font: size of the numbers, points.

  >>> axes = new_figure(4.0, 3.0).subplots()
  >>> label_axes(axes, "step", "loss", None, font=8.5)
  >>> axes.get_xlabel(), axes.get_ylabel()
  ('step', 'loss')
  """
  quiet_axes(axes, sides=("left", "bottom"))
  axes.set_xlabel(x_label, fontsize=9, color=QUIET)
  axes.set_ylabel(y_label, fontsize=9, color=QUIET)
  axes.tick_params(labelsize=font, pad=4)

  axes.grid(axis="y", color="#f0f0f0", linewidth=0.8, zorder=0)
  # Else matplotlib draws the grid over the lines.
  axes.set_axisbelow(True)
  if title is not None:
    axes.set_title(title, fontsize=10, color=INK, loc="left", pad=10)


def save_figure(figure: "matplotlib.figure.Figure", path: str | Path) -> Path:
  """Saves a figure; the suffix is the format (png, pdf, svg).

  Its text is drawn literally, without markup, see `write_plainly`. The same
  figure makes the same bytes; a PDF embeds its fonts whole (Type 42).

  Args:
    figure: to save.
    path: file to write; its directory is made if it is missing.

  Returns:
    The path written.

  Raises:
    ValueError: the suffix is not a format that matplotlib writes.

  >>> import tempfile
  >>> folder = tempfile.mkdtemp()
  >>> save_figure(new_figure(1.0, 1.0), f"{folder}/deep/x.png").exists()
  True
  """
  path = Path(path)
  formats = figure.canvas.get_supported_filetypes()
  if path.suffix.removeprefix(".") not in formats:
    raise ValueError(
      f"path={path}: expected a suffix among {', '.join(sorted(formats))}, got"
      f" {path.suffix!r}"
    )

  # After the check, so that a wrong suffix leaves no directory behind.
  path.parent.mkdir(parents=True, exist_ok=True)
  write_plainly(figure)
  from matplotlib import rc_context

  with rc_context(_SETTINGS):
    metadata = _NO_DATE.get(path.suffix.removeprefix("."))
    figure.savefig(path, facecolor="white", metadata=metadata)

  return path
