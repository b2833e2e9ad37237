"""Neighbourhoods on a grid of one, two, three or more dimensions."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from attnjax.ops.integers import place
from attnjax.ops.masks.bounds import SomeEvery, numpy_or_jax
from attnjax.ops.masks.protocol import Mask
from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.ops.value import format_call

__all__ = ["neighborhood"]


def neighborhood(
  shape: int | Sequence[int], radius: int | Sequence[int]
) -> Mask:
  """A query sees the keys near it on a grid, as many at a border as within.

  Positions number the points of the grid row by row, the last dimension
  fastest. With (q_1, ..., q_n) and (k_1, ..., k_n) the coordinates of query and
  key, N_i the shape and r_i the radius,

      |clip(q_i, r_i, N_i - 1 - r_i) - k_i| <= r_i    for every i

  The window is not cut at a border but moved inwards, so every query sees the
  same number of keys, Π_i (2 r_i + 1): NATTEN's definition, whose
  ``kernel_size`` is 2 r + 1. Positions outside of the grid see nothing and are
  not seen. Its tiles are decided exactly, without looking at pairs.

  Args:
    shape: points of the grid along each dimension, each >= 1.
    radius: points to either side that a query sees, along each dimension or for
      all, >= 0; 2 radius + 1 fits the shape.

  Raises:
    ValueError: if a window does not fit the grid, or the numbers of dimensions
      differ.

  >>> print(neighborhood(5, 1).picture(5, 5))
  █ █ █ · ·
  █ █ █ · ·
  · █ █ █ ·
  · · █ █ █
  · · █ █ █
  >>> bool((neighborhood((5, 7), (1, 2)).dense(35, 35).sum(-1) == 15).all())
  True

  Reference:
    Hassani, Walton, Li, Li, Shi, "Neighborhood Attention Transformer", 2022,
    arXiv 2204.07143.
  """
  sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
  radii = (
    (radius,) * len(sizes)
    if isinstance(radius, int | np.integer)
    else tuple(radius)
  )
  numbers = all(
    isinstance(x, int | np.integer) and not isinstance(x, bool)
    for x in (*sizes, *radii)
  )
  fits = (
    numbers
    and len(sizes) == len(radii) > 0
    and all(n >= 1 for n in sizes)
    and all(0 <= 2 * r < n for n, r in zip(sizes, radii, strict=True))
  )
  if not fits or math.prod(sizes) > 2**30:
    raise ValueError(
      "neighborhood: shape must be 1 point or more along each dimension, 2**30"
      " in all, and radius 0 or more, one for all dimensions or one each, with"
      f" 2 radius + 1 <= shape; got shape {shape}, radius {radius}; a window as"
      " large as the grid is masks.full()"
    )
  return _Neighborhood(tuple(map(int, sizes)), tuple(map(int, radii)))


class _Box(NamedTuple):
  """Points whose coordinates are within ranges; none where it is not real."""

  ranges: tuple[tuple[Any, Any], ...]
  real: Any


@pytree_dataclass
class _Neighborhood(Mask):
  """The mask of `neighborhood`."""

  shape: tuple[int, ...] = static()
  radius: tuple[int, ...] = static()

  def __repr__(self):
    plain = lambda x: x[0] if len(x) == 1 else x
    alike = len(set(self.radius)) == 1
    radius = self.radius[0] if alike else plain(self.radius)
    return format_call("neighborhood", plain(self.shape), radius)

  def __call__(self, b, h, q, k):
    q, k = place(q), place(k)
    # A key outside of the grid is so along the first dimension, where it is not
    # wrapped: no window reaches there. A difference might be past int32 there.
    (x, *xs), (y, *ys) = self._coordinates(q), self._coordinates(k)
    first = self._first(x, self.shape[0], self.radius[0])
    seen = self._inside(q) & (y >= first) & (y <= first + 2 * self.radius[0])

    rest = zip(xs, ys, self.shape[1:], self.radius[1:], strict=True)
    for x, y, size, r in rest:
      seen = seen & (abs(self._first(x, size, r) + r - y) <= r)
    return seen

  def decide(self, area) -> SomeEvery:
    # Points that follow each other are a few boxes, as a mesh point of each box
    # is every combination of its coordinates, and so is what a query sees: of
    # two boxes some pair is seen if it is along each dimension.
    (q0, q1), (k0, k1) = area.query, area.key
    last = math.prod(self.shape) - 1
    inside = self._inside(q0) & self._inside(q1)
    inside = inside & self._inside(k0) & self._inside(k1)
    clip = lambda x, low: numpy_or_jax(x).clip(x, low, last)
    # Of a range that is outside altogether nothing is left.
    queries = self._boxes(clip(q0, 0), clip(q1, -1), self.shape)
    keys = self._boxes(clip(k0, 0), clip(k1, -1), self.shape)

    some, every = np.bool_(False), np.bool_(True)
    for x, y in itertools.product(queries, keys):
      real = x.real & y.real & (q0 <= last) & (k0 <= last)
      one, whole = real, real
      for (a0, a1), (b0, b1), size, r in zip(
        x.ranges, y.ranges, self.shape, self.radius, strict=True
      ):
        low, high = self._first(a0, size, r), self._first(a1, size, r)
        one = one & (b0 <= high + 2 * r) & (b1 >= low)
        whole = whole & (b1 <= low + 2 * r) & (b0 >= high)
      some = some | one
      every = every & (whole | (real ^ True))
    return some, every & inside

  def _inside(self, x):
    return (x >= 0) & (x < math.prod(self.shape))

  @staticmethod
  def _first(x, size: int, radius: int):
    """The first coordinate that a query at x sees."""
    return numpy_or_jax(x).clip(x - radius, 0, size - 1 - 2 * radius)

  def _coordinates(self, x) -> list:
    """Coordinates of positions, the first of which is outside if they are."""
    found = []
    for size in self.shape[:0:-1]:
      found.append(x % size)
      x = x // size
    return [x, *found[::-1]]

  def _boxes(self, first, last, shape: tuple[int, ...]) -> list[_Box]:
    """The boxes that positions from first to last are, in this many dimensions.

    The rest of the row of the first, whole rows, and the row of the last up to
    it; where both are in one row, that part of it.
    """
    if len(shape) == 1:
      return [_Box(((first, last),), first <= last)]

    row = math.prod(shape[1:])
    xp = numpy_or_jax(first, last)
    top, bottom = first // row, last // row
    same, some = top == bottom, first <= last
    end = xp.where(same, last % row, row - 1)
    along = lambda at, parts, real: [
      _Box(((at, at), *box.ranges), box.real & real) for box in parts
    ]
    whole = tuple((0, size - 1) for size in shape[1:])
    rows = _Box(((top + 1, bottom - 1), *whole), some & (top + 1 < bottom))
    return [
      *along(top, self._boxes(first % row, end, shape[1:]), some),
      rows,
      *along(
        bottom,
        self._boxes(first * 0, last % row, shape[1:]),
        some & (same ^ True),
      ),
    ]
