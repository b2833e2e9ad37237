"""Which learning rate of a sweep is best, and how a table names it."""

import statistics
from collections.abc import Callable, Mapping, Sequence

__all__ = ["best_trained", "said_of"]


def best_trained(
  rates: Sequence[float], found: Callable[[float], Mapping]
) -> float:
  """The rate whose accuracy was greatest at the end of training.

  The mean over seeds, on rows that no step has seen; no test is looked at.

  Args:
    rates: that were tried.
    found: rate -> measures, whose ``curve`` is a list a seed.

  >>> curves = {0.1: [[0.2, 0.5], [0.1, 0.9]], 0.3: [[0.8, 0.6], [0.9, 0.6]]}
  >>> best_trained((0.1, 0.3), lambda rate: {"curve": curves[rate]})
  0.1
  """
  ends = lambda rate: statistics.fmean(row[-1] for row in found(rate)["curve"])
  return max(rates, key=ends)


def said_of(rate: float, tried: Sequence[float]) -> str:
  """A rate as a cell of a table; starred at the edge of what was tried.

  Beyond an edge a better rate may lie. A rate that was tried alone was not
  chosen, and has no star.

  >>> said_of(0.01, (0.003, 0.01, 0.03)), said_of(0.003, (0.003, 0.01, 0.03))
  ('0.01', '0.003*')
  >>> said_of(0.01, (0.01,))
  '0.01'
  """
  at_edge = len(tried) > 1 and rate in (min(tried), max(tried))
  return f"{rate:g}{'*' if at_edge else ''}"
