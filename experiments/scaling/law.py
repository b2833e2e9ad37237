"""Scaling law of the loss in parameters and tokens: fit and uncertainty."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from experiments.scaling.config import LawConfig

__all__ = [
  "EDGES",
  "LENGTHS",
  "SIZES",
  "Fit",
  "Law",
  "Line",
  "columns",
  "enough",
  "fit",
  "fit_law",
  "line_through",
]

EDGES = (0.01, 2.0)  # bounds of both exponents
SIZES = LENGTHS = 3  # with fewer a term and the floor cannot be told apart
_DELTA = 1e-3  # Huber's: residuals beyond a thousandth count linearly
_LOWEST = 1e-4  # bound of A and B, as a share of the least loss
_RATIO = 2.0  # of the ends of the interval of an exponent that is determined
_PART = 0.5  # of the least loss, that the interval of a floor may be wide

Value = TypeVar("Value", float, np.ndarray)


@dataclasses.dataclass(frozen=True)
class Law:
  """Loss as a floor, a term of the size and a term of the data.

      L(N, D) = E + A / N^α + B / D^β

  Args:
    floor: E, the loss of an infinite model on infinite data.
    a: A, factor of the term of parameters.
    alpha: α, its exponent.
    b: B, factor of the term of tokens.
    beta: β, its exponent.

  With β = ½ four times the tokens halve their term:

  >>> law = Law(1.0, 3.0, 1.0, 8.0, 0.5)
  >>> law(3.0, 16.0), law(3.0, 64.0)
  (4.0, 3.0)

  Reference:
    Hoffmann et al. Training Compute-Optimal Large Language Models. 2022.
    arXiv:2203.15556, equation 2.
  """

  floor: float
  a: float
  alpha: float
  b: float
  beta: float

  def __call__(self, parameters: Value, tokens: Value) -> Value:
    """Loss of N parameters after D tokens."""
    return (
      self.floor
      + self.a * parameters**-self.alpha
      + self.b * tokens**-self.beta
    )

  def best_parameters(self, flops: float) -> float:
    """The N of least loss at a compute of C = 6 N D.

      N = G (C/6)^(β/(α + β)),
      G = (αA / (βB))^(1/(α + β))

    Reference:
      Hoffmann et al., equation 4.

    With equal terms N = D = √(C/6):

    >>> round(Law(1.0, 5.0, 0.3, 5.0, 0.3).best_parameters(6e8))
    10000
    """
    both = self.alpha + self.beta
    share = np.log(self.alpha * self.a / (self.beta * self.b)) / both
    return float(np.exp(share + np.log(flops / 6) * self.beta / both))


def fit_law(
  parameters: ArrayLike, tokens: ArrayLike, losses: ArrayLike, *, starts: int
) -> Law:
  """Fits a law to losses, by Huber's loss of their logarithms.

      Σ Huber(log L(N, D) - log loss) over runs, δ = 0.001

  For given exponents the law is linear in E, A and B: least squares finds those
  at each point of a grid of exponents. From the best of these points all five
  are optimized to convergence: stopping early makes intervals too narrow
  (Besiroglu et al. 2024).

  Args:
    parameters: N of each run.
    tokens: D of each run.
    losses: of each run, above 0.
    starts: points of the grid to optimize from.

  Raises:
    ValueError: there are not enough sizes or lengths to tell the terms apart.

  Reference:
    Hoffmann et al. 2022, arXiv:2203.15556, section 3.3; Besiroglu, Erdil,
    Barnett, You. Chinchilla Scaling: A replication attempt. 2024.
    arXiv:2404.10102.

  >>> import numpy as np
  >>> true = Law(1.2, 30.0, 0.4, 200.0, 0.5)
  >>> n, d = np.meshgrid([1e3, 1e4, 1e5, 1e6], [1e4, 1e5, 1e6])
  >>> found = fit_law(n.ravel(), d.ravel(), true(n, d).ravel(), starts=3)
  >>> round(found.alpha, 2), round(found.beta, 2), round(found.floor, 2)
  (0.4, 0.5, 1.2)
  """
  n, d, loss = (np.asarray(x, float) for x in (parameters, tokens, losses))
  sizes, lengths = len(np.unique(n)), len(np.unique(d))
  if sizes < SIZES or lengths < LENGTHS:
    raise ValueError(
      f"runs: expected {SIZES} sizes and {LENGTHS} lengths at least, got"
      f" {sizes} and {lengths}; five numbers cannot be told from less"
    )

  # In units of the least loss and of the geometric mean of the runs all five
  # numbers are about 1, and the problem is well conditioned.
  middle = np.log(n).mean(), np.log(d).mean()
  x, y = np.log(n) - middle[0], np.log(d) - middle[1]
  unit = np.log(loss.min())
  target = np.log(loss) - unit

  grid = sorted(_starts(x, y, target), key=lambda p: _cost(p, x, y, target))
  ends = [_optimum(p, x, y, target) for p in grid[:starts]]
  size, alpha, data, beta, floor = min(ends, key=lambda end: end.cost).x

  # Back to the units of the arguments.
  return Law(
    floor=float(floor * np.exp(unit)),
    a=float(np.exp(size + unit + alpha * middle[0])),
    alpha=float(alpha),
    b=float(np.exp(data + unit + beta * middle[1])),
    beta=float(beta),
  )


def _starts(
  x: np.ndarray, y: np.ndarray, target: np.ndarray
) -> list[np.ndarray]:
  """(log A, alpha, log B, beta, E) at each point of a grid of exponents."""
  found = []
  weight = np.exp(-target)  # so that all count by their relative error

  for alpha, beta in itertools.product((0.1, 0.2, 0.35, 0.6, 1.0), repeat=2):
    columns = [np.exp(-alpha * x), np.exp(-beta * y), np.ones_like(x)]
    scaled = np.stack(columns, -1) * weight[:, None]
    # No term of the law lowers the loss: none is negative.
    terms, _ = optimize.nnls(scaled, np.ones_like(x))
    a, b = np.log(np.maximum(terms[:2], _LOWEST))
    found.append(np.array([a, alpha, b, beta, terms[2]]))

  return found


def _optimum(
  start: np.ndarray, x: np.ndarray, y: np.ndarray, target: np.ndarray
) -> optimize.OptimizeResult:
  """Local minimum of Huber's loss from one starting point."""
  term = (np.log(_LOWEST), 5.0)
  low, high = np.array([term, EDGES, term, EDGES, (0.0, 1.0)]).T

  return optimize.least_squares(
    _residuals,
    np.clip(start, low + 1e-6, high - 1e-6),  # it must be strictly inside
    _jacobian,
    bounds=(low, high),
    loss="huber",
    # Tight, for the reason that `fit_law` gives.
    ftol=1e-10,
    xtol=1e-10,
    gtol=1e-9,
    max_nfev=500,
    args=(x, y, target),
  )


def _cost(
  p: np.ndarray, x: np.ndarray, y: np.ndarray, target: np.ndarray
) -> float:
  """Huber's loss, summed over runs, in units of delta."""
  away = np.abs(_residuals(p, x, y, target))
  return float(np.where(away < 1, away**2 / 2, away - 0.5).sum())


def _residuals(
  p: np.ndarray, x: np.ndarray, y: np.ndarray, target: np.ndarray
) -> np.ndarray:
  """log L - log loss of each run, in units of delta."""
  return (np.log(_terms(p, x, y).sum(0)) - target) / _DELTA


def _jacobian(
  p: np.ndarray, x: np.ndarray, y: np.ndarray, target: np.ndarray
) -> np.ndarray:
  """Derivatives of the residuals by the five numbers, ``runs 5``."""
  del target
  terms = _terms(p, x, y)
  total = terms.sum(0)
  size, data, _ = terms / total
  # d log L / d log A = its share of L; by E it is 1 / L.
  columns = [size, -size * x, data, -data * y, 1 / total]
  return np.stack(columns, -1) / _DELTA


def _terms(p: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Term of the size, term of the data, and floor of each run, ``3 runs``."""
  # A and B are optimized by their logarithms; the floor may be 0 and is not.
  size, data = np.exp(p[0] - p[1] * x), np.exp(p[2] - p[3] * y)
  return np.stack([size, data, np.full_like(x, p[4])])


@dataclasses.dataclass(frozen=True)
class Fit:
  """A law, and the laws of bootstrap resamples of its cells.

  A cell is all runs of one size and length, one a seed. They differ by seed far
  less than the law is off, so that drawn runs would make intervals too narrow.

  Args:
    law: of all runs.
    again: laws of as many cells, drawn with replacement.
    coverage: share of `again` that an interval holds.
    least: the lowest loss that the law was fitted to.
  """

  law: Law
  again: Sequence[Law]
  coverage: float
  least: float

  def interval(self, ask: Callable[[Law], float]) -> tuple[float, float]:
    """Bootstrap interval of a quantity of the law: two percentiles.

    Args:
      ask: law -> the quantity.

    >>> import numpy as np
    >>> law = lambda floor: Law(floor, 1.0, 1.0, 1.0, 1.0)
    >>> again = [law(x) for x in np.linspace(0.0, 1.0, 101)]
    >>> found = Fit(law(0.5), again, 0.9, 1.0).interval(lambda x: x.floor)
    >>> round(found[0], 2), round(found[1], 2)
    (0.05, 0.95)
    """
    rest = (1 - self.coverage) / 2  # below and above alike
    ends = np.quantile([ask(law) for law in self.again], [rest, 1 - rest])
    return float(ends[0]), float(ends[1])

  def verdict(self, name: str) -> str:
    """Whether the runs determine a number of the law, and if not, why not.

    Args:
      name: of a field of the law.
    """
    low, high = self.interval(lambda law: getattr(law, name))

    if name in ("alpha", "beta"):
      # So near to a bound it is the bound that stopped the optimizer.
      if low <= EDGES[0] * 1.01 or high >= EDGES[1] * 0.99:
        return "not determined: it leaves what was looked for"
      if high > _RATIO * low:
        return f"not determined: the ends differ {high / low:.1f} times"

    if name == "floor" and high - low > _PART * self.least:
      share = 100 * (high - low) / self.least
      return f"not determined: {share:.0f} % of the least loss wide"
    return "determined"


def columns(runs: Sequence[dict]) -> tuple[np.ndarray, ...]:
  """Arrays of parameters, tokens and bits per byte, a value a run."""
  names = "parameters", "tokens", "bits_per_byte"
  return tuple(np.array([run[name] for run in runs], float) for name in names)


def enough(runs: Sequence[dict]) -> bool:
  """Whether runs have as many sizes and lengths as `fit_law` needs."""
  n, d, _ = columns(runs)
  return len(np.unique(n)) >= SIZES and len(np.unique(d)) >= LENGTHS


def fit(config: LawConfig, runs: Sequence[dict]) -> Fit:
  """Fits a law to runs, and one to each bootstrap resample of their cells.

  A resample with too few sizes or lengths for a law is drawn again.

  Raises:
    ValueError: from `fit_law`, if there are too few of all runs.
  """
  table = np.stack(columns(runs))
  # All points of the grid.
  law = fit_law(*table, starts=25)
  random = np.random.default_rng(config.seed)
  again: list[Law] = []

  cells, of_run = np.unique(table[:2], axis=1, return_inverse=True)
  members = [np.flatnonzero(of_run == cell) for cell in range(cells.shape[1])]

  while len(again) < config.resamples:
    chosen = random.integers(0, len(members), len(members))
    drawn = table[:, np.concatenate([members[cell] for cell in chosen])]
    try:
      # Fewer starts than of all runs: there are hundreds of these fits.
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

  def __call__(self, x: ArrayLike) -> np.ndarray:
    """Value of the power law at x."""
    return self.factor * np.asarray(x, float) ** -self.exponent


def line_through(x: ArrayLike, y: ArrayLike) -> Line:
  """Fits a power law: least squares of log y by log x.

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
  log_x, log_y = (np.log(np.asarray(each, float)) for each in (x, y))
  if len(np.unique(log_x)) < 2:
    raise ValueError(f"x: expected two different values, got {np.exp(log_x)}")

  away = log_x - log_x.mean()
  slope = away @ log_y / (away @ away)
  left = log_y - log_y.mean() - slope * away
  error = np.nan
  if len(log_x) > 2:
    # Two numbers are fitted: so many degrees of freedom are gone.
    error = np.sqrt(left @ left / (len(log_x) - 2) / (away @ away))

  return Line(
    float(np.exp(log_y.mean() - slope * log_x.mean())),
    float(-slope),
    float(error),
    float(np.sqrt((left**2).mean())),
  )
