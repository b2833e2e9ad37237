"""Values of a tile in two dimensions, as the vector unit of a TPU holds them.

    matrix  [n, m]     an axis in sublanes, an axis in lanes
    column  [n, 128]   an axis in sublanes, all lanes alike
    row     [1, n]     an axis in lanes
    scalar  []

A value that is the same along an axis does not have that axis: it is broadcast
where another value that has it meets it. Rows and columns of booleans are held
as int32, for a TPU broadcasts no single bits.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

__all__ = [
  "LANES",
  "Adds",
  "Layout",
  "Plane",
  "Whole",
  "as_partial",
  "product",
  "reduced",
  "row_of",
  "scalar",
  "summed",
]

LANES = 128


class Plane(NamedTuple):
  """A value of a tile.

  Args:
    array: as it is held.
    sub: the name of the axis in sublanes, or None.
    lane: the name of the axis in lanes, or None.
    dtype: of the value.
    partial: of a column, whether its value is the sum of its lanes.
  """

  array: Any
  sub: str | None
  lane: str | None
  dtype: Any
  partial: bool = False

  @property
  def axes(self) -> frozenset[str]:
    """The axes along which the value differs."""
    return frozenset(x for x in (self.sub, self.lane) if x is not None)


class Whole(NamedTuple):
  """A small array that tiles are given whole, and look numbers up in.

  Args:
    read: the numbers at row-major indices, a plane of int32, as a plane.
    shape: of the array.
    dtype: of the array.
  """

  read: Callable[[Plane], Plane]
  shape: tuple[int, ...]
  dtype: Any


class Adds(NamedTuple):
  """An array of zeros but for some numbers: what is added, and where.

  Args:
    numbers: pairs of an index, row-major, and a scalar.
    loops: of many such pairs the first and the end of a count, and the function
      from the count to a pair.
  """

  numbers: tuple[tuple[Any, Any], ...] = ()
  loops: tuple[tuple[Any, Any, Callable], ...] = ()

  def map(self, function: Callable) -> "Adds":
    """The same with a function of each scalar."""
    of = lambda pair: (pair[0], function(pair[1]))
    after = lambda get: lambda n: of(get(n))
    return Adds(
      tuple(map(of, self.numbers)),
      tuple((first, end, after(get)) for first, end, get in self.loops),
    )


def scalar(x, dtype) -> Plane:
  """A number as a plane of no axis.

  >>> scalar(3, "int32").axes
  frozenset()
  """
  return Plane(x, None, None, jnp.dtype(dtype))


class Layout(NamedTuple):
  """How planes lie: which axis is in sublanes, and how long the axes are.

  Args:
    order: names of axes, those in sublanes before those in lanes; an axis of
      features comes after all of them.
    sizes: by name.

  >>> layout = Layout(("t", "s"), {"t": 8, "s": 16})
  >>> layout.of({"s", "t"}), layout.of({"t"}), layout.of({"s"})
  (('t', 's'), ('t', None), (None, 's'))
  """

  order: tuple[str, ...]
  sizes: dict[str, int]

  def of(self, axes) -> tuple[str | None, str | None]:
    """(sublanes, lanes) of a value with these axes."""
    rank = lambda x: self.order.index(x) if x in self.order else len(self.order)
    first, *rest = [*sorted(axes, key=lambda x: (rank(x), x)), None]
    if len(rest) > 1:
      return first, rest[0]
    return (first, None) if first == self.order[0] else (None, first)

  def shape(self, sub: str | None, lane: str | None) -> tuple[int, ...]:
    """The shape of an array that is held so."""
    if sub is None and lane is None:
      return ()
    if lane is None:
      return (self.sizes[sub or ""], LANES)
    return (1 if sub is None else self.sizes[sub], self.sizes[lane])

  def held(self, x: Plane, sub: str | None, lane: str | None):
    """The array of a plane, broadcast and turned to be held so."""
    x = summed(x)
    shape, array = self.shape(sub, lane), x.array
    if x.axes == frozenset():
      array = jnp.broadcast_to(jnp.asarray(array, x.dtype), shape)
      return _as_vector(array, x, sub, lane)

    if (x.sub, x.lane) == (sub, lane):
      return array
    if x.sub is not None and x.lane is not None:
      return _turned(array)  # it has both axes, in the other order

    name = x.sub or x.lane
    if name == sub:
      column = array if x.sub else _turned(_repeated(array))
      array = column if lane is None else _along_lanes(column, shape)
    else:
      row = array if x.lane else _turned(array)[:1]
      array = row if sub is None else jnp.broadcast_to(row, shape)
    return _as_matrix(array, x, sub, lane)

  def natural(self, array, dtype, sub, lane) -> Plane:
    """The plane of what an operation returned, in the form of that place."""
    if dtype == bool and (sub is None) != (lane is None):
      array = array.astype(jnp.int32)
    return Plane(array, sub, lane, dtype)

  def iota(self, name: str, dtype) -> Plane:
    """0, 1, 2... along an axis."""
    sub, lane = self.of({name})
    shape = self.shape(sub, lane)
    wide = jnp.int32 if jnp.issubdtype(dtype, jnp.integer) else dtype
    found = lax.broadcasted_iota(wide, shape, 0 if sub else 1).astype(dtype)
    return Plane(found, sub, lane, dtype)


def summed(x: Plane) -> Plane:
  """A column whose lanes are alike, if it was one of partial sums."""
  if not x.partial:
    return x
  column = jnp.sum(x.array, axis=1, keepdims=True)
  array = jnp.broadcast_to(column, x.array.shape)
  return x._replace(array=array, partial=False)


def row_of(column, *, partial: bool):
  """The array ``1 n`` of the values of a column, ``n 128``.

  Args:
    column: as a `Plane` of one axis, in sublanes, holds it.
    partial: whether its value is the sum of its lanes.

  >>> import jax.numpy as jnp
  >>> row_of(jnp.ones((8, 128)), partial=True).tolist()[0]
  [128.0, 128.0, 128.0, 128.0, 128.0, 128.0, 128.0, 128.0]
  """
  if partial:  # turned first, for sublanes are added faster than lanes
    return jnp.sum(column.T, axis=0, keepdims=True)
  count, zero = len(column), jnp.zeros((), column.dtype)
  if count % LANES:
    return column.T[:1]

  # Lanes are alike: lane n of sublane n is taken, of each 128, and none turned.
  sub, lane = (
    lax.broadcasted_iota(jnp.int32, (LANES, LANES), axis) for axis in (0, 1)
  )
  parts = [
    jnp.sum(
      jnp.where(sub == lane, column[k : k + LANES], zero),
      axis=0,
      keepdims=True,
    )
    for k in range(0, count, LANES)
  ]
  return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)


def as_partial(x: Plane) -> Plane:
  """A column as one of partial sums: its value in the first lane."""
  if x.partial:
    return x
  lanes = lax.broadcasted_iota(jnp.int32, x.array.shape, 1)
  array = jnp.where(lanes == 0, x.array, jnp.zeros((), x.dtype))
  return x._replace(array=array, partial=True)


def _as_vector(array, x: Plane, sub, lane):
  """A broadcast scalar: of bool int32 where rows and columns are."""
  if x.dtype == bool and (sub is None) != (lane is None):
    return array.astype(jnp.int32)
  return array


def _as_matrix(array, x: Plane, sub, lane):
  """A broadcast row or column: as a matrix bool is bool again."""
  if x.dtype == bool and sub is not None and lane is not None:
    return array != 0
  return array


def _repeated(row):
  """A row, in as many sublanes as there are lanes."""
  return jnp.broadcast_to(row, (LANES, row.shape[1]))


def _turned(array):
  """The transpose; a TPU turns numbers of 32 bits."""
  if array.dtype == bool:
    return array.astype(jnp.int32).T != 0
  return array.T


def _along_lanes(column, shape: Sequence[int]):
  """A column, in as many lanes as a matrix has."""
  count = shape[1]
  if count % LANES == 0:
    return jnp.tile(column, (1, count // LANES))
  if count < LANES:
    return column[:, :count]
  return jnp.broadcast_to(column[:, :1], shape)


def reduced(layout: Layout, name: str, x: Plane, axis: str) -> Plane:
  """A plane after a sum, a maximum... over one of its axes."""
  size, x = layout.sizes[axis], summed(x)
  if axis not in x.axes:  # the same all along
    if name == "reduce_sum":
      return x._replace(array=x.array * jnp.asarray(size, x.dtype))
    return x

  boolean = x.dtype == bool
  array = x.array.astype(jnp.int32) if boolean else x.array
  by = _REDUCE[name]
  if x.sub is not None and x.lane is not None:
    if x.lane == axis:
      if name == "reduce_sum" and not size % LANES and not boolean:
        # Lanes are summed later, or after many tiles: each is a sum by itself.
        parts = [array[:, k : k + LANES] for k in range(0, size, LANES)]
        return Plane(_total(parts), x.sub, None, x.dtype, partial=True)
      column = by(array, axis=1, keepdims=True)
      array = jnp.broadcast_to(column, (array.shape[0], LANES))
      return Plane(array, x.sub, None, x.dtype)
    return Plane(by(array, axis=0, keepdims=True), None, x.lane, x.dtype)

  # The last axis. Lanes of a column are alike: of them one counts.
  row = array if x.lane else _turned(array)[:1]
  found = by(row)
  return scalar(found != 0 if boolean else found, x.dtype)


def _total(parts: list):
  """The sum of some arrays, as a tree: no addition waits for all before it."""
  while len(parts) > 1:
    pairs = zip(parts[::2], parts[1::2], strict=False)
    parts = [a + b for a, b in pairs] + parts[len(parts) // 2 * 2 :]
  return parts[0]


_REDUCE: dict[str, Callable] = {
  "reduce_sum": jnp.sum,
  "reduce_max": jnp.max,
  "reduce_min": jnp.min,
  "reduce_or": jnp.max,
  "reduce_and": jnp.min,
}


def product(
  layout: Layout,
  x: Plane,
  y: Plane,
  axis: str,
  *,
  dtype,
  precision,
  narrow: bool,
) -> Plane:
  """Σ x y over an axis that both have: on the matrix unit, if both can."""
  (a,), (b,) = (tuple(z.axes - {axis}) for z in (x, y))
  sub, lane = layout.of({a, b})
  if a != sub:
    x, y, a, b = y, x, b, a

  left, right = (
    z.array.astype(jnp.bfloat16) if narrow else z.array for z in (x, y)
  )
  left_axis = 0 if x.sub == axis else 1
  right_axis = 0 if y.sub == axis else 1
  wide = jnp.float32 if dtype.itemsize < 4 else dtype
  found = lax.dot_general(
    left,
    right,
    (((left_axis,), (right_axis,)), ((), ())),
    precision=None if narrow else precision,
    preferred_element_type=wide,
  )
  return Plane(found.astype(dtype), sub, lane, dtype)
