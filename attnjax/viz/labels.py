"""Labels at the right ends of lines, moved apart where they overlap."""

import dataclasses
from collections.abc import Sequence
from typing import Any

__all__ = [
  "Label",
  "separate_heights",
  "write_labels",
]


@dataclasses.dataclass(frozen=True)
class Label:
  """The label of one line, at its right end.

  Args:
    value: height of the end, in the unit of the vertical axis.
    text: what to write.
    color: of the line and of its label.

  >>> Label(2.5, "eval 2.500", "#222222").value
  2.5
  """

  value: float
  text: str
  color: str


def write_labels(axes: Any, labels: Sequence[Label], *, font: float) -> None:
  """Writes labels beside the right spine, each tied to the end of its line.

  Args:
    axes: matplotlib axes whose data are drawn; its vertical limits are fixed.
    labels: what to write.
    font: size, points.

  >>> from attnjax.viz.style import new_figure
  >>> axes = new_figure(4.0, 3.0).subplots()
  >>> write_labels(axes, [Label(0.5, "half", "#222222")], font=8.0)
  >>> axes.texts[0].get_text()
  'half'
  """
  low, high = axes.get_ylim()
  # Fixed: drawing a label must not move the ends of the lines.
  axes.set_ylim(low, high)
  # Linear or logarithmic: heights are in the axis's own scale.
  scale = axes.yaxis.get_transform().transform
  bottom, top, *values = scale([low, high, *(label.value for label in labels)])
  ends = [float(value - bottom) / float(top - bottom) for value in values]
  points = axes.figure.get_size_inches()[1] * 72 * 0.8  # less title and ticks

  # A line of text is 1.35 font sizes high, in parts of the height of the axes.
  heights = separate_heights(ends, gap=1.35 * font / points)
  for label, end, height in zip(labels, ends, heights, strict=True):
    place = {"transform": axes.transAxes, "color": label.color}
    axes.plot([1.0, 1.025], [end, height], lw=0.6, clip_on=False, **place)
    axes.text(1.032, height, label.text, fontsize=font, va="center", **place)


def separate_heights(heights: Sequence[float], *, gap: float) -> list[float]:
  """Moves heights as little as possible, so that they are a gap apart.

  Least squares, by pooling neighbours that would come too close (isotonic
  regression of the heights less one gap a rank).

  Args:
    heights: where each label would stand by itself.
    gap: least distance between two.

  Returns:
    The new heights, in the order given.

  >>> separate_heights([0.5, 0.5, 2.0], gap=0.5)
  [0.25, 0.75, 2.0]
  """
  order = sorted(range(len(heights)), key=heights.__getitem__)
  pools: list[tuple[float, int]] = []  # mean and size

  for rank, index in enumerate(order):
    mean, size = heights[index] - rank * gap, 1
    while pools and pools[-1][0] > mean:
      below, count = pools.pop()
      # Pooled: neighbours that overlap move together, by their mean.
      mean = (mean * size + below * count) / (size + count)
      size += count
    pools.append((mean, size))

  means = [mean for mean, size in pools for _ in range(size)]
  placed = [0.0] * len(heights)

  for rank, index in enumerate(order):
    placed[index] = means[rank] + rank * gap

  return placed
