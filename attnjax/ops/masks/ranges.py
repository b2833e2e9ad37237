"""What an array of integers holds over ranges of positions."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from attnjax.ops.integers import LIMITS
from attnjax.ops.masks.rows import extremes, module_of

__all__ = ["Span", "span"]


class Span(NamedTuple):
  """Least and most of a range; least > most if none of it is in the array."""

  least: Any
  most: Any
  inside: Any  # is the whole range in the array?


def span(x, bounds: tuple, batch: tuple | None) -> Span:
  """Of an int array ``*B N``, what the positions from first to last hold.

  Least and most of each run of 2^j places are computed once, O(N log N); two of
  them, which may overlap, cover any range.

  Reference:
    Bender, Farach-Colton, "The LCA Problem Revisited", LATIN 2000, section 3.
  """
  first, last = bounds
  size = np.shape(x)[-1]
  inside = (first >= 0) & (last < size)
  if np.size(x) == 0:
    return Span(LIMITS.max, LIMITS.min, inside)
  least, most = extremes(x, batch, 1)
  xp = module_of(least, first, last)
  low = xp.clip(xp.asarray(first, np.int32), 0, size)
  high = xp.clip(xp.asarray(last, np.int32), -1, size - 1) + 1
  return Span(
    xp.where(low < high, _over(xp, xp.minimum, least, low, high), LIMITS.max),
    xp.where(low < high, _over(xp, xp.maximum, most, low, high), LIMITS.min),
    inside,
  )


def _over(xp, least, x, low, high):
  """The least of ``... N`` in places [low, high), if there is one."""
  row = np.arange(math.prod(x.shape[:-1]), dtype=np.int32)
  row, size = row.reshape(x.shape[:-1]), x.shape[-1]
  widths = 2 ** np.arange(size.bit_length(), dtype=np.int32)

  def longer(run, width):
    # A run that wraps around the end is one that no range asks for.
    return least(run, xp.roll(run, -width, axis=1)), run

  scan = _scan if xp is np else jax.lax.scan
  runs = scan(longer, xp.asarray(x).reshape((-1, size)), widths)[1]
  width = widths.reshape((1,) * np.ndim(low) + (-1,))
  level = xp.sum((high - low)[..., None] >= width[..., 1:], axis=-1)
  last = xp.clip(high - xp.asarray(widths)[level], 0, size - 1)
  first = xp.clip(low, 0, size - 1)
  return least(runs[level, row, first], runs[level, row, last])


def _scan(step, carry, xs):
  """`jax.lax.scan` of numpy, to be known while a program is traced."""
  ys = []
  for x in xs:
    carry, y = step(carry, x)
    ys.append(y)
  return carry, np.stack(ys)
