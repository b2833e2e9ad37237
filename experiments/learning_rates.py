"""How a table names the best learning rate of a sweep."""

from collections.abc import Sequence

__all__ = ["said_of"]


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
