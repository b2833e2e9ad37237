"""How sure one may be of a law: fits to runs drawn again, and lines."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.scaling.config import LawConfig
from experiments.scaling.law import EDGES, LENGTHS, SIZES, Law, fit_law

__all__ = ["Fit", "Line", "columns", "enough", "fit", "line_through"]

_RATIO = 2.0  # of the ends of the interval of an exponent that is determined
_PART = 0.5  # of the least loss, that the interval of a floor may be wide


@dataclasses.dataclass(frozen=True)
class Fit:
  """A law, and the laws of runs drawn again.

  Args:
    law: of all runs.
    again: of as many runs, drawn with replacement.
    coverage: share of `again` that an interval holds.
    least: the lowest loss that the law was fitted to.
  """

  law: Law
  again: Sequence[Law]
  coverage: float
  least: float

  def interval(self, ask: Callable[[Law], float]) -> tuple[float, float]:
    """Between which percentiles of `again` an answer lies.

    Args:
      ask: law -> the answer.

    >>> law = lambda floor: Law(floor, 1.0, 1.0, 1.0, 1.0)
    >>> again = [law(x) for x in np.linspace(0.0, 1.0, 101)]
    >>> found = Fit(law(0.5), again, 0.9, 1.0).interval(lambda x: x.floor)
    >>> round(found[0], 2), round(found[1], 2)
    (0.05, 0.95)
    """
    rest = (1 - self.coverage) / 2
    ends = np.quantile([ask(law) for law in self.again], [rest, 1 - rest])
    return float(ends[0]), float(ends[1])

  def verdict(self, name: str) -> str:
    """Whether the runs determine a number, and if not, how one sees it.

    Args:
      name: of a field of the law.
    """
    low, high = self.interval(lambda law: getattr(law, name))
    if name in ("alpha", "beta"):
      if low <= EDGES[0] * 1.01 or high >= EDGES[1] * 0.99:
        return "not determined: it leaves what was looked for"
      if high > _RATIO * low:
        return f"not determined: the ends differ {high / low:.1f} times"
    if name == "floor" and high - low > _PART * self.least:
      share = 100 * (high - low) / self.least
      return f"not determined: {share:.0f} % of the least loss wide"
    return "determined"


def columns(runs: Sequence[dict]) -> tuple[np.ndarray, ...]:
  """(parameters, tokens, bits per byte) of runs."""
  names = "parameters", "tokens", "bits_per_byte"
  return tuple(np.array([run[name] for run in runs], float) for name in names)


def enough(runs: Sequence[dict]) -> bool:
  """Whether there are sizes and lengths enough for `fit_law`."""
  n, d, _ = columns(runs)
  return len(np.unique(n)) >= SIZES and len(np.unique(d)) >= LENGTHS


def fit(config: LawConfig, runs: Sequence[dict]) -> Fit:
  """The law of runs, and how it changes with which runs one happens to have.

  A draw that has too few sizes or lengths to fit a law is drawn again.

  Raises:
    ValueError: from `fit_law`, if there are too few of all runs.
  """
  table = np.stack(columns(runs))
  law = fit_law(*table, starts=25)
  random = np.random.default_rng(config.seed)
  again: list[Law] = []
  while len(again) < config.resamples:
    drawn = table[:, random.integers(0, len(runs), len(runs))]
    try:
      again.append(fit_law(*drawn, starts=2))
    except ValueError:
      continue
  return Fit(law, again, config.coverage, float(table[2].min()))


class Line(NamedTuple):
  """A power law of one variable: y = factor / x^exponent.

  A straight line where both axes are logarithmic, which has no floor.
  """

  factor: float
  exponent: float
  error: float  # standard error of the exponent; NaN of two points
  residual: float  # root mean square of log y - log of the line

  def __call__(self, x: Any) -> Any:
    """Its value at x."""
    return self.factor * np.asarray(x, float) ** -self.exponent


def line_through(x: Any, y: Any) -> Line:
  """The straight line of least squares through log x and log y.

  Args:
    x: two different values at least, above 0.
    y: as many, above 0.

  Reference:
    Kaplan et al. Scaling Laws for Neural Language Models. 2020.
    arXiv:2001.08361, equations 1.1 and 1.3.

  >>> line = line_through([1.0, 4.0, 16.0], [6.0, 3.0, 1.5])
  >>> round(line.exponent, 6), round(line.factor, 6), line.error < 1e-6
  (0.5, 6.0, True)
  """
  x, y = np.log(np.asarray(x, float)), np.log(np.asarray(y, float))
  if len(np.unique(x)) < 2:
    raise ValueError(f"x: expected two different values, got {np.exp(x)}")
  away = x - x.mean()
  slope = away @ y / (away @ away)
  left = y - y.mean() - slope * away
  error = np.nan
  if len(x) > 2:
    error = np.sqrt(left @ left / (len(x) - 2) / (away @ away))
  return Line(
    float(np.exp(y.mean() - slope * x.mean())),
    float(-slope),
    float(error),
    float(np.sqrt((left**2).mean())),
  )
