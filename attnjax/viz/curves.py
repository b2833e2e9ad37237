"""Figures of learning curves, with horizontal lines to compare with."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnjax.viz import style
from attnjax.viz.labels import Label, write_labels
from attnjax.viz.plain_text import write_plainly

if TYPE_CHECKING:
  import matplotlib.figure

__all__ = [
  "Curves",
  "learning_curve_figure",
  "save_curves",
]


Curves = dict[str, tuple[list[int], list[float]]]
_WIDTH, _HEIGHT, _FONT = 6.4, 3.8, 8.5  # inches, inches, points


def learning_curve_figure(
  records: Iterable[Mapping[str, Any]],
  *,
  metric: str = "bits_per_byte",
  scale: float = 1.0,
  label: str | None = None,
  yardsticks: Mapping[str, float] | None = None,
  title: str | None = None,
) -> "matplotlib.figure.Figure":
  """Draws one metric over the steps: a curve a split, and yardsticks.

  Each curve and each yardstick carries its name and its last value at its
  right end, so there is no legend to look up.

  Args:
    records: what `metrics.jsonl` holds, one mapping a line: `step`, `split`
      (train, eval...) and the metrics. A metric that is None or not finite
      leaves a gap; a record without it is passed over.
    metric: name of the metric to draw.
    scale: what to multiply it by: 1 / log(2) makes bits of nats.
    label: name of the vertical axis, with its unit; None takes the metric's.
    yardsticks: name -> a value to compare with, in the unit drawn (the entropy
      of a bigram model, a published result); None draws none.
    title: above the figure; None writes nothing.

  Returns:
    A matplotlib Figure, to save or to display.

  Raises:
    ValueError: no record has the metric, or a yardstick is not finite.
    ImportError: matplotlib is not installed.

  >>> records = [
  ...   {"step": 0, "split": "eval", "bits_per_byte": 8.0},
  ...   {"step": 9, "split": "eval", "bits_per_byte": 2.5},
  ... ]
  >>> figure = learning_curve_figure(records, yardsticks={"bigram": 3.4})
  >>> [text.get_text() for text in figure.axes[0].texts]
  ['eval 2.500', 'bigram 3.400']
  """
  figure = style.new_figure(_WIDTH, _HEIGHT)
  # Imported once `style` has said which extra matplotlib needs.
  from matplotlib.ticker import MaxNLocator

  curves = _curves(records, metric, scale)
  yardsticks = dict(yardsticks or {})
  for name, value in yardsticks.items():
    if not math.isfinite(value):
      raise ValueError(
        f"yardsticks: expected finite values, got {name}={value}"
      )

  axes = figure.subplots()
  labels = [
    *_draw_curves(axes, curves),
    *_draw_yardsticks(axes, yardsticks),
  ]
  y_label = label or metric.replace("_", " ")
  style.label_axes(axes, "step", y_label, title, font=_FONT)
  # Steps are whole numbers, and so are their ticks.
  axes.xaxis.set_major_locator(
    MaxNLocator("auto", integer=True, steps=(1, 2, 5, 10))
  )
  axes.margins(x=0.01, y=0.06)
  write_labels(axes, labels, font=_FONT)
  write_plainly(figure)

  return figure


def save_curves(
  path: str | Path, records: Iterable[Mapping[str, Any]], **options: Any
) -> Path:
  """Saves the figure of `learning_curve_figure`; the suffix is the format.

  Args:
    path: file to write (.png, .pdf, .svg); its directory is made if missing.
    records: as for `learning_curve_figure`.
    **options: its keyword arguments.

  Returns:
    The path written.

  >>> import tempfile
  >>> path = f"{tempfile.mkdtemp()}/curves.png"
  >>> records = [{"step": 1, "split": "train", "loss": 2.0}]
  >>> save_curves(path, records, metric="loss").stat().st_size > 0
  True
  """
  figure = learning_curve_figure(records, **options)
  return style.save_figure(figure, path)


def _curves(
  records: Iterable[Mapping[str, Any]], metric: str, scale: float
) -> Curves:
  """Steps and values of each split, in the order of the steps."""
  curves: Curves = {}
  seen: set[str] = set()

  for record in sorted(records, key=lambda record: record["step"]):
    seen |= record.keys()
    if metric in record:
      value = record[metric]
      value = math.nan if value is None else float(value) * scale
      steps, values = curves.setdefault(record["split"], ([], []))
      steps.append(record["step"])
      # matplotlib leaves a gap at NaN; infinity would spoil the limits of the
      # axis.
      values.append(value if math.isfinite(value) else math.nan)

  if not curves:
    there = ", ".join(sorted(seen - {"step", "split"})) or "no record at all"
    raise ValueError(f"metric={metric!r}: no record has it; there is {there}")

  return curves


def _draw_curves(axes: Any, curves: Curves) -> list[Label]:
  """Draws each split as a line; returns the labels."""
  labels = []
  for index, (name, (steps, values)) in enumerate(curves.items()):
    look = style.line_look(index)
    # Thin and pale: the training loss of single batches is noisy.
    noisy = name == "train"
    marked = len(steps) == 1 or (not noisy and len(steps) < 60)
    axes.plot(
      steps,
      values,
      **look | {"marker": look["marker"] if marked else ""},
      linewidth=1.0 if noisy else 1.8,
      alpha=0.6 if noisy and len(steps) > 1 else 1.0,
      markersize=4,
      zorder=2 if noisy else 3,
    )

    finite = [value for value in values if math.isfinite(value)]
    if finite:
      labels.append(
        Label(finite[-1], f"{name} {finite[-1]:.3f}", look["color"])
      )

  return labels


def _draw_yardsticks(axes: Any, yardsticks: Mapping[str, float]) -> list[Label]:
  """Draws each yardstick as a dashed line; returns the labels."""
  for value in yardsticks.values():
    axes.axhline(
      value, color=style.QUIET, linewidth=0.9, dashes=(4, 3), zorder=1
    )
  # Written by `write_labels` with those of the curves, so that none overlap.
  return [
    Label(float(value), f"{name} {value:.3f}", style.QUIET)
    for name, value in yardsticks.items()
  ]
