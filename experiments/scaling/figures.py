"""Figures: loss against parameters, and against compute."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnjax.viz import lines_figure
from attnjax.viz.style import INK, PALETTE, save_figure
from experiments.scaling.refutation import frontier
from experiments.scaling.report import Runs, cells
from experiments.scaling.uncertainty import Fit, line_through

__all__ = ["draw"]

Curve = tuple[Any, Any, str]  # x, y, color


def draw(workdir: Path, runs: Runs, fitted: Fit | None) -> list[Path]:
  """Every run as a point; dashed the law, and the power law of compute.

  Args:
    workdir: to write to.
    runs: what was measured.
    fitted: None draws no law.
  """
  return [
    _by_parameters(workdir / "by_parameters.png", runs, fitted),
    _by_compute(workdir / "by_compute.png", runs),
  ]


def _by_parameters(path: Path, runs: Runs, fitted: Fit | None) -> Path:
  """A line for every length of training."""
  series, curves = {}, []
  for number, tokens in enumerate(sorted({run["tokens"] for run in runs})):
    group = [run for run in runs if run["tokens"] == tokens]
    x, y = _series(group, "parameters")
    series[f"{tokens:,} tokens"] = (x, y)
    if fitted is not None and len(x) > 1:
      fine = np.geomspace(x[0], x[-1], 60)
      color = PALETTE[number % len(PALETTE)]
      curves.append((fine, fitted.law(fine, float(tokens)), color))
  return _saved(path, series, curves, "parameters N, without the embedding")


def _by_compute(path: Path, runs: Runs) -> Path:
  """A line for every size; the power law of those that no other beats."""
  series = {}
  for width in sorted({run["width"] for run in runs}):
    group = [run for run in runs if run["width"] == width]
    series[f"width {width}"] = _series(group, "flops")
  curves: list[Curve] = []
  best = frontier(runs)
  if len(best) > 2:
    fine = np.geomspace(best[0][0], best[-1][0], 60)
    line = line_through(*zip(*best, strict=True))
    curves.append((fine, line(fine), INK))
  return _saved(path, series, curves, "compute C, FLOPs of training")


def _series(group: Runs, name: str) -> tuple[list[float], Any]:
  """X, and bits per byte: a row a seed, or means where seeds are missing."""
  found = list(cells(group).values())
  x = [float(runs[0][name]) for runs in found]
  losses = [[run["bits_per_byte"] for run in runs] for runs in found]
  if len({len(seeds) for seeds in losses}) > 1:
    return x, [float(np.mean(seeds)) for seeds in losses]
  return x, np.transpose(losses)


def _saved(
  path: Path,
  series: Mapping[str, tuple[Any, Any]],
  curves: Sequence[Curve],
  x_label: str,
) -> Path:
  """A figure with both axes logarithmic, curves dashed over its lines."""
  figure = lines_figure(
    series,
    x_label=x_label,
    y_label="held-out bits per byte",
    log_x=True,
    log_y=True,
  )
  axes = figure.axes[0]
  # Of less than a decade: 2.5 is more easily read than 2.5 x 10^0.
  axes.yaxis.set_major_formatter("{x:g}")
  axes.yaxis.set_minor_formatter("{x:g}")
  axes.tick_params(axis="y", which="minor", labelsize=8.5)
  # The labels stand where the axes are now: what is added must not move them.
  axes.autoscale(False)
  for x, y, color in curves:
    axes.plot(x, y, color=color, linewidth=1.1, dashes=(3, 2))
  return save_figure(figure, path)
