"""Values of a tile along three axes: planes, each computed where it is needed.

    additive    logit[t, s] = Σ_a v[a] tanh(q[t, a] + k[s, a])
    T5          d table[n]  = Σ_ts [bucket[t, s] = n] d logit[t, s]

A kernel has no room for what is summed here, and needs none: a loop over the
third axis computes one plane after the other.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from attnjax.ops.tiles.flat_programs import CannotLower
from attnjax.ops.tiles.planes import (
  Layout,
  Plane,
  Whole,
  reduced,
  scalar,
  summed,
)

__all__ = [
  "Stack",
  "materialized",
  "reduced_stack",
  "stack_of_iota",
  "stacked",
  "third_axis",
]


class Stack:
  """Planes along one more axis.

  Args:
    read: the plane at an index of the axis, which may be traced.
    axis: its name.
    inner: names of the axes of each plane.
    dtype: of the value.

  >>> from attnjax.ops.tiles.planes import scalar
  >>> twice = Stack(lambda n: scalar(2 * n, "int32"), "f3", (), "int32")
  >>> twice.read(2).array, sorted(twice.axes)
  (4, ['f3'])
  """

  def __init__(self, read: Callable, axis: str, inner, dtype):
    self.axis, self.inner = axis, frozenset(inner)
    self.dtype = jnp.dtype(dtype)
    self._compute = read
    self._last: tuple[Any, Plane | None] = (None, None)

  @property
  def axes(self) -> frozenset[str]:
    """All axes."""
    return self.inner | {self.axis}

  def read(self, n) -> Plane:
    """The plane at an index, computed once a turn of a loop."""
    at, found = self._last
    if at is not n or found is None:
      found = self._compute(n)
      self._last = (n, found)
    return found


def stack_of_iota(axis: str, dtype) -> Stack:
  """0, 1, 2... along an axis of features."""
  count = lambda n: scalar(jnp.asarray(n).astype(dtype), dtype)
  return Stack(count, axis, (), dtype)


def third_axis(values: Sequence, names: Sequence[Sequence]) -> str | None:
  """The axis along which the result of some values is a stack; None of planes.

  Args:
    values: a `Plane`, a `Stack` or a `Whole` each.
    names: of the axes of each.

  Raises:
    CannotLower: if there is no such axis, or more than one.
  """
  found = {x.axis for x in values if isinstance(x, Stack)}
  planes: set[str] = set()
  for x, axes in zip(values, names, strict=True):
    if isinstance(x, Whole):
      found |= {a for a in axes if a is not None}
    else:
      planes |= x.axes
  if not found and len(planes) > 2:
    found = planes - {"t", "s"}
  if len(found) > 1 or len(planes | found) > 3:
    raise CannotLower(
      f"numbers along the axes {sorted(planes | found)}: more than three, or"
      " two of features"
    )
  return next(iter(found), None)


def stacked(
  layout: Layout, values: Sequence, axis: str, function: Callable, dtype
) -> Stack:
  """A function of planes, of values that are stacks along an axis.

  Args:
    layout: of planes.
    values: a `Plane`, a `Stack` or a `Whole` each.
    axis: along which they are cut into planes.
    function: from a list of planes to a plane.
    dtype: of the result.
  """
  cuts = [_cut(layout, x, axis) for x in values]
  inner = frozenset().union(
    *(x.axes for x in values if not isinstance(x, Whole))
  )
  inner -= {axis}
  if len(inner) > 2:
    raise CannotLower(f"numbers along the axes {sorted(inner | {axis})}")
  return Stack(lambda n: function([cut(n) for cut in cuts]), axis, inner, dtype)


def _cut(layout: Layout, x, axis: str) -> Callable[[Any], Plane]:
  """The function from an index of an axis to the plane that is there."""
  if isinstance(x, Stack):
    return x.read
  if isinstance(x, Whole):
    return lambda n: x.read(scalar(jnp.asarray(n, jnp.int32), jnp.int32))
  if axis not in x.axes:
    return lambda n: x

  (other,) = (x.axes - {axis}) or (None,)
  # As the vector that it becomes lies, turned once for all turns of the loop.
  if other is None:
    sub, lane = layout.of({axis})
  elif layout.of({other})[1] is None:
    sub, lane = other, axis
  else:
    sub, lane = axis, other
  array = layout.held(x, sub, lane)
  wide = _wide(x.dtype)
  array = array.astype(wide)
  place = lax.broadcasted_iota(jnp.int32, array.shape, 0 if sub == axis else 1)

  def read(n):
    one = jnp.where(place == n, array, jnp.zeros_like(array))
    found = reduced(layout, "reduce_sum", Plane(one, sub, lane, wide), axis)
    return _as(summed(found), x.dtype)

  return read


def _wide(dtype):
  """The dtype in which numbers are summed: a TPU adds those of 32 bits."""
  if dtype == bool:
    return jnp.dtype(jnp.int32)
  narrow = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4
  return jnp.dtype(jnp.float32) if narrow else dtype


def _as(x: Plane, dtype) -> Plane:
  """A vector or scalar in another dtype; of bool a vector is int32."""
  if x.dtype == dtype:
    return x
  if dtype == bool:
    array = x.array if x.axes else x.array != 0
    return x._replace(array=array, dtype=jnp.dtype(bool))
  return x._replace(array=x.array.astype(dtype), dtype=jnp.dtype(dtype))


def reduced_stack(layout: Layout, name: str, x: Stack, axis: str):
  """A stack after a sum, a maximum... over one of its axes."""
  if axis != x.axis:
    if axis in x.inner:
      inner = x.inner - {axis}
      of = lambda n: summed(reduced(layout, name, x.read(n), axis))
    else:
      inner = x.inner
      of = lambda n: reduced(layout, name, x.read(n), axis)
    return Stack(of, x.axis, inner, x.dtype)

  sub, lane = layout.of(x.inner) if x.inner else (None, None)
  wide = _wide(x.dtype)
  by, neutral = _BY[name]
  start = jnp.full(layout.shape(sub, lane), neutral(wide), wide)
  add = lambda n, found: by(
    found, layout.held(x.read(n), sub, lane).astype(wide)
  )
  array = lax.fori_loop(0, layout.sizes[axis], add, start)
  if x.dtype == bool:
    return layout.natural(array != 0, x.dtype, sub, lane)
  return Plane(array.astype(x.dtype), sub, lane, x.dtype)


def _lowest(dtype):
  """What no number of a dtype is below."""
  floating = jnp.issubdtype(dtype, jnp.floating)
  return -jnp.inf if floating else jnp.iinfo(dtype).min


def _highest(dtype):
  """What no number of a dtype is above."""
  floating = jnp.issubdtype(dtype, jnp.floating)
  return jnp.inf if floating else jnp.iinfo(dtype).max


# The operation of a reduction, and what it begins with.
_BY: dict[str, tuple[Callable, Callable]] = {
  "reduce_sum": (jnp.add, lambda dtype: 0),
  "reduce_max": (jnp.maximum, _lowest),
  "reduce_min": (jnp.minimum, _highest),
  "reduce_or": (jnp.maximum, lambda dtype: 0),
  "reduce_and": (jnp.minimum, lambda dtype: 1),
}


def materialized(layout: Layout, stacks: Sequence[Stack]) -> list[Plane]:
  """Stacks along one axis as planes with it, in one loop for all.

  Raises:
    CannotLower: if one has three axes.
  """
  forms = []
  for x in stacks:
    if len(x.axes) > 2:
      raise CannotLower(f"a result along the axes {sorted(x.axes)}")
    forms.append(layout.of(x.axes))
  axis = stacks[0].axis
  # Rows of features have their axis in lanes, matrices too.
  shapes = [layout.shape(*form) for form in forms]
  places = [
    lax.broadcasted_iota(jnp.int32, shape, 0 if form[0] == axis else 1)
    for shape, form in zip(shapes, forms, strict=True)
  ]

  def put(n, arrays):
    found = []
    for x, form, at, array in zip(stacks, forms, places, arrays, strict=True):
      new = layout.held(x.read(n), *form).astype(array.dtype)
      found.append(jnp.where(at == n, new, array))
    return found

  wide = lambda x: jnp.int32 if x.dtype == bool else x.dtype
  start = [
    jnp.zeros(shape, wide(x)) for x, shape in zip(stacks, shapes, strict=True)
  ]
  arrays = lax.fori_loop(0, layout.sizes[axis], put, start)
  return [
    layout.natural(a != 0, x.dtype, *form)
    if x.dtype == bool
    else Plane(a, *form, x.dtype)
    for a, x, form in zip(arrays, stacks, forms, strict=True)
  ]
