"""The law of losses in parameters and tokens, fitted to runs."""

import dataclasses
import itertools
from typing import Any

import numpy as np
from scipy import optimize

__all__ = ["EDGES", "LENGTHS", "SIZES", "Law", "fit_law"]

EDGES = (0.01, 2.0)  # of the exponents that are looked for
SIZES = LENGTHS = 3  # with fewer a term and the floor cannot be told apart
_DELTA = 1e-3  # Huber's: residuals beyond a thousandth count by their size
_LOWEST = 1e-4  # of A and B, as a share of the least loss


@dataclasses.dataclass(frozen=True)
class Law:
  """Loss as a floor, and what is lost for want of size and of data.

      L(N, D) = E + A / N^alpha + B / D^beta

  Args:
    floor: E, what no model of any size would get below.
    a: A, of the want of parameters.
    alpha: its exponent.
    b: B, of the want of tokens.
    beta: its exponent.

  Twice the exponent's worth of tokens halves what their want costs:

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

  def __call__(self, parameters: Any, tokens: Any) -> Any:
    """The loss of N parameters after D tokens."""
    return (
      self.floor
      + self.a * parameters**-self.alpha
      + self.b * tokens**-self.beta
    )

  def best_parameters(self, flops: float) -> float:
    """N of the least loss at a compute of C = 6 N D.

      N = G (C / 6)^(beta / (alpha + beta)),
      G = (alpha A / (beta B))^(1 / (alpha + beta))

    Reference:
      Hoffmann et al., equation 4.

    Where both terms are alike, half of it, in logarithms, goes to each:

    >>> round(Law(1.0, 5.0, 0.3, 5.0, 0.3).best_parameters(6e8))
    10000
    """
    both = self.alpha + self.beta
    share = np.log(self.alpha * self.a / (self.beta * self.b)) / both
    return float(np.exp(share + np.log(flops / 6) * self.beta / both))


def fit_law(parameters: Any, tokens: Any, losses: Any, *, starts: int) -> Law:
  """The law whose logarithm is nearest to that of losses, by Huber's measure.

      sum over runs of Huber(log L(N, D) - log loss), delta = 0.001

  For exponents that are given the law is linear in E, A and B: least squares
  finds those at every place of a grid of exponents, and from the best of them
  all five are moved downhill until nothing moves. Stopping before that makes
  intervals too narrow (Besiroglu et al. 2024).

  Args:
    parameters: N of each run.
    tokens: D of each run.
    losses: of each run, above 0.
    starts: places of the grid to go downhill from.

  Raises:
    ValueError: there are not enough sizes or lengths to tell the terms apart.

  Reference:
    Hoffmann et al. 2022, arXiv:2203.15556, section 3.3; Besiroglu, Erdil,
    Barnett, You. Chinchilla Scaling: A replication attempt. 2024.
    arXiv:2404.10102.

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
  # In units of the least loss and of the middle of the runs: all five numbers
  # are then about 1, and steps downhill are alike in all directions.
  middle = np.log(n).mean(), np.log(d).mean()
  x, y = np.log(n) - middle[0], np.log(d) - middle[1]
  unit = np.log(loss.min())
  target = np.log(loss) - unit
  grid = sorted(_starts(x, y, target), key=lambda p: _cost(p, x, y, target))
  ends = [_downhill(p, x, y, target) for p in grid[:starts]]
  size, alpha, data, beta, floor = min(ends, key=lambda end: end.cost).x
  return Law(
    floor=float(floor * np.exp(unit)),
    a=float(np.exp(size + unit + alpha * middle[0])),
    alpha=float(alpha),
    b=float(np.exp(data + unit + beta * middle[1])),
    beta=float(beta),
  )


def _starts(x: Any, y: Any, target: Any) -> list[np.ndarray]:
  """(log A, alpha, log B, beta, E) for every pair of exponents."""
  found = []
  weight = np.exp(-target)  # so that all count by their relative error
  for alpha, beta in itertools.product((0.1, 0.2, 0.35, 0.6, 1.0), repeat=2):
    columns = [np.exp(-alpha * x), np.exp(-beta * y), np.ones_like(x)]
    scaled = np.stack(columns, -1) * weight[:, None]
    terms, _ = optimize.nnls(scaled, np.ones_like(x))
    a, b = np.log(np.maximum(terms[:2], _LOWEST))
    found.append(np.array([a, alpha, b, beta, terms[2]]))
  return found


def _downhill(start: np.ndarray, x: Any, y: Any, target: Any) -> Any:
  """The end of the way down from a place."""
  term = (np.log(_LOWEST), 5.0)
  low, high = np.array([term, EDGES, term, EDGES, (0.0, 1.0)]).T
  return optimize.least_squares(
    _residuals,
    np.clip(start, low + 1e-6, high - 1e-6),
    _slopes,
    bounds=(low, high),
    loss="huber",
    ftol=1e-10,
    xtol=1e-10,
    gtol=1e-9,
    max_nfev=500,
    args=(x, y, target),
  )


def _cost(p: np.ndarray, x: Any, y: Any, target: Any) -> float:
  """Huber's measure, in units of delta."""
  away = np.abs(_residuals(p, x, y, target))
  return float(np.where(away < 1, away**2 / 2, away - 0.5).sum())


def _residuals(p: np.ndarray, x: Any, y: Any, target: Any) -> np.ndarray:
  """Of every run log L less the logarithm of its loss, in units of delta."""
  return (np.log(_terms(p, x, y).sum(0)) - target) / _DELTA


def _slopes(p: np.ndarray, x: Any, y: Any, target: Any) -> np.ndarray:
  """Their derivatives by the five numbers."""
  del target
  terms = _terms(p, x, y)
  total = terms.sum(0)
  size, data, _ = terms / total
  columns = [size, -size * x, data, -data * y, 1 / total]
  return np.stack(columns, -1) / _DELTA


def _terms(p: np.ndarray, x: Any, y: Any) -> np.ndarray:
  """What is lost for want of size and of data, and the floor."""
  # The floor may be 0, which no logarithm reaches: it alone is itself.
  size, data = np.exp(p[0] - p[1] * x), np.exp(p[2] - p[3] * y)
  return np.stack([size, data, np.full_like(x, p[4])])
