"""Figures of y against x, with the range over seeds as a band."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attnjax.viz import style
from attnjax.viz.labels import Label, write_labels
from attnjax.viz.plain_text import write_plainly

if TYPE_CHECKING:
  import matplotlib.figure

__all__ = [
  "lines_figure",
  "save_lines",
]


_WIDTH, _HEIGHT, _FONT = 6.4, 3.8, 8.5  # inches, inches, points


def lines_figure(
  series: Mapping[str, tuple[Any, Any]],
  *,
  x_label: str,
  y_label: str,
  title: str | None = None,
  log_x: bool = False,
  log_y: bool = False,
  levels: Mapping[str, float] | None = None,
) -> "matplotlib.figure.Figure":
  """Draws each series as a line, with its name at its right end.

  Args:
    series: name -> (x, y): x "N", and y "N" or, one seed a row, "S N": the line
      is the mean, the band goes from the least to the greatest seed. NaN leaves
      a gap.
    x_label: name of the horizontal axis, with its unit.
    y_label: name of the vertical axis, with its unit.
    title: above the figure; None writes nothing.
    log_x: whether the horizontal axis is logarithmic, base 2 where all x are
      powers of 2.
    log_y: whether the vertical axis is logarithmic.
    levels: name -> y of a dashed horizontal line: a bound, a chance level.

  Returns:
    A matplotlib Figure, to save or to display.

  Raises:
    ValueError: there is no series, or x and y of one do not fit.
    ImportError: matplotlib is not installed.

  >>> figure = lines_figure({"ours": ([1, 2], [[3, 5], [5, 7]])},
  ...                       x_label="length", y_label="error")
  >>> figure.axes[0].lines[0].get_ydata().tolist()
  [4.0, 6.0]
  """
  if not series:
    raise ValueError("series: expected one line at least, got none")

  figure = style.new_figure(_WIDTH, _HEIGHT)
  axes = figure.subplots()
  labels = []

  for index, (name, (x, y)) in enumerate(series.items()):
    look = style.line_look(index)
    last = _draw(axes, *_validate(name, x, y), look)
    labels.append(Label(last, name, look["color"]))

  for name, level in (levels or {}).items():
    axes.axhline(level, color=style.QUIET, linewidth=0.9, dashes=(4, 3))
    labels.append(Label(float(level), name, style.QUIET))

  _scale(axes, series, log_x, log_y)
  style.label_axes(axes, x_label, y_label, title, font=_FONT)
  write_labels(axes, labels, font=_FONT)
  write_plainly(figure)

  return figure


def save_lines(
  path: str | Path, series: Mapping[str, tuple[Any, Any]], **options: Any
) -> Path:
  """Saves the figure of `lines_figure`; the suffix is the format.

  Args:
    path: file to write; its directory is made if missing.
    series: as for `lines_figure`.
    **options: its keyword arguments.

  >>> import tempfile
  >>> path = f"{tempfile.mkdtemp()}/lines.png"
  >>> save_lines(path, {"a": ([1], [2])}, x_label="x", y_label="y").exists()
  True
  """
  return style.save_figure(lines_figure(series, **options), path)


def _validate(name: str, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
  """x as "N" and y as "S N"."""
  x, y = np.asarray(x, float), np.atleast_2d(np.asarray(y, float))
  if x.ndim != 1 or y.ndim != 2 or y.shape[1] != len(x) or not len(x):
    raise ValueError(
      f"series {name!r}: expected x of N numbers and y of N, or S N, got"
      f" {x.shape} and {y.shape}"
    )
  return x, y


def _draw(
  axes: Any, x: np.ndarray, y: np.ndarray, look: dict[str, str]
) -> float:
  """Draws a line and its band; returns the last finite value."""
  mean = y.mean(0)
  # Of many points only some are marked, or the marks would be the line.
  every = max(1, len(x) // 20)
  axes.plot(x, mean, **look, linewidth=1.6, markersize=4, markevery=every)

  if len(y) > 1:
    axes.fill_between(
      x, y.min(0), y.max(0), color=look["color"], alpha=0.18, linewidth=0
    )

  finite = mean[np.isfinite(mean)]
  # The label stands at the last point that is drawn.
  return float(finite[-1]) if len(finite) else float("nan")


def _scale(axes: Any, series: Any, log_x: bool, log_y: bool) -> None:
  """Sets logarithmic axes; base 2 where all x are powers of 2."""
  if log_x:
    every = np.concatenate([np.asarray(x, float) for x, _ in series.values()])
    powers = np.log2(every)
    base = 2 if np.array_equal(powers, np.round(powers)) else 10
    axes.set_xscale("log", base=base)
  if log_y:
    axes.set_yscale("log")
