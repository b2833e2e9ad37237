"""Tests of the law: predictions of losses that it was not fitted to."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.scaling.config import LawConfig
from experiments.scaling.law import columns, fit, line_through

__all__ = ["Forecast", "forecasts", "frontier"]


class Forecast(NamedTuple):
  """A held-out cell of the sweep, and the prediction from the others."""

  parameters: float
  tokens: float
  measured: float  # bits per byte, the mean over seeds
  foretold: float
  low: float
  high: float
  neighbour: float  # measured of the next smaller size, after as many tokens
  ruler: float  # on the straight line, in logarithms, through the two smaller

  @property
  def error(self) -> float:
    """Error of the law: log(foretold / measured)."""
    return float(np.log(self.foretold / self.measured))

  @property
  def baseline(self) -> float:
    """Error of "size changes nothing": log(neighbour / measured)."""
    return float(np.log(self.neighbour / self.measured))

  @property
  def ruled(self) -> float:
    """Error of a ruler laid through two sizes: log(ruler / measured)."""
    return float(np.log(self.ruler / self.measured))


def forecasts(config: LawConfig, runs: Sequence[dict]) -> list[Forecast]:
  """Predicts the runs of the widest model from a law of the others.

  Args:
    config: as for `fit`.
    runs: of all sizes.

  Raises:
    ValueError: from `fit_law`, if too few runs are left.
  """
  # The widest is held out, because a law is used to predict models larger than
  # those that it was fitted to.
  *smaller, widest = sorted({run["parameters"] for run in runs})
  fitted = fit(config, [run for run in runs if run["parameters"] != widest])
  means = _means(runs)
  found = []

  for (n, d), measured in means.items():
    if n != widest or not all((size, d) in means for size in smaller[-2:]):
      continue  # another size, or one without neighbours: they diverged
    loss = lambda law, n=n, d=d: float(law(n, d))
    low, high = fitted.interval(loss)
    told, near = fitted.law(n, d), means[smaller[-1], d]
    ruler = line_through(smaller[-2:], [means[x, d] for x in smaller[-2:]])
    ruled = float(ruler(n))
    found.append(Forecast(n, d, measured, told, low, high, near, ruled))

  return found


def frontier(runs: Sequence[dict]) -> list[tuple[float, float]]:
  """(FLOPs, bits per byte) of cells with a lower loss than all cheaper ones.

  >>> run = lambda n, d, c, loss: {
  ...   "parameters": n, "tokens": d, "flops": c, "bits_per_byte": loss}
  >>> frontier([run(1, 1, 1.0, 3.0), run(1, 2, 2.0, 2.5), run(2, 1, 3.0, 2.6)])
  [(1.0, 3.0), (2.0, 2.5)]
  """
  flops = {(run["parameters"], run["tokens"]): run["flops"] for run in runs}
  best: list[tuple[float, float]] = []
  means = _means(runs)
  for cell in sorted(means, key=lambda cell: flops[cell]):
    if not best or means[cell] < best[-1][1]:
      best.append((flops[cell], means[cell]))
  return best


def _means(runs: Sequence[dict]) -> dict[tuple[float, float], float]:
  """Bits per byte by (N, D), the mean over seeds."""
  cells: dict[tuple[float, float], list[float]] = {}
  for n, d, loss in zip(*columns(runs), strict=True):
    cells.setdefault((float(n), float(d)), []).append(float(loss))
  return {cell: float(np.mean(losses)) for cell, losses in cells.items()}
