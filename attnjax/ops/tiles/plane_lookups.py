"""Numbers of captured arrays: looked up, and added to in their gradients.

An index may be the same in all of a tile, as of a batch row or head, or differ
by position, as a bucket of the distance does.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from attnjax.ops.tiles.flat_programs import CannotLower, is_zero
from attnjax.ops.tiles.lookup_lines import (
  Several,
  addition_of,
  cannot_add,
  cannot_look_up,
  lookup_of,
  steps,
)
from attnjax.ops.tiles.plane_pointwise import larger, smaller
from attnjax.ops.tiles.planes import (
  Adds,
  Layout,
  Plane,
  Whole,
  scalar,
)
from attnjax.ops.tiles.stacks import Stack, stacked

__all__ = ["added", "looked_up"]


def looked_up(line, ins: list, names: dict, layout: Layout):
  """Numbers of a captured array: one each pair of positions, or a slice.

  Args:
    line: of a jaxpr, a gather or a slice.
    ins: its arguments, as planes.
    names: of axes, as a `FlatProgram` has them.
    layout: of planes.

  Raises:
    CannotLower: if it looks up in what is no captured array, or slices more
      than one axis of it.
  """
  (v,), x = line.outvars, ins[0]
  if isinstance(x, Plane) and not x.axes:
    return x  # the same everywhere
  if not isinstance(x, Whole):
    raise cannot_look_up(line)

  of = lookup_of(line, ins, _part)
  at, inside = _place(of.starts, x.shape, of.sizes, layout)
  if not of.long:
    return _filled(x.read(at), inside, of.fill, layout)
  found = {a for a in names[v] if a is not None} - at.axes
  if len(of.long) > 1 or len(found) != 1:
    raise cannot_look_up(line)

  step = steps(x.shape)[of.long[0]]
  one = lambda n: _filled(x.read(_moved(at, n * step)), inside, of.fill, layout)
  return Stack(one, found.pop(), at.axes, x.dtype)


def added(line, ins: list, names: dict, layout: Layout) -> Adds:
  """What is added to an array of zeros: the gradient of a lookup.

  Args:
    line: of a jaxpr, a scatter-add, a pad or an update of a slice.
    ins: its arguments, as planes.
    names: of axes, as a `FlatProgram` has them.
    layout: of planes.

  Raises:
    CannotLower: if it adds to other than zeros, or slices by position.
  """
  of, out = addition_of(line, ins, _part), line.outvars[0].aval
  update = of.update
  if not (
    isinstance(of.zeros, Plane) and is_zero(of.zeros.array)
  ) or not isinstance(update, Plane | Stack):
    raise cannot_add(line)
  at, inside = _place(of.starts, out.shape, of.sizes, layout)
  counted = inside if of.dropped else scalar(jnp.bool_(True), bool)

  axes = frozenset(a for a in names[of.variable] if a is not None)
  if isinstance(update, Plane) and not axes:
    return Adds(((at.array, _or_zero(update.array, counted.array)),))
  if not of.long and isinstance(update, Plane):
    return _added_by_position(update, at, counted, axes, layout)
  if len(of.long) != 1 or len(axes) != 1 or at.axes:
    raise cannot_add(line)

  step, count = steps(out.shape)[of.long[0]], of.sizes[of.long[0]]
  (axis,) = axes
  each = stacked(layout, [update], axis, lambda xs: xs[0], update.dtype)

  def one(n):
    return at.array + n * step, _or_zero(each.read(n).array, counted.array)

  return Adds(loops=((0, count, one),))


def _added_by_position(
  update: Plane, at: Plane, counted: Plane, axes, layout: Layout
) -> Adds:
  """Numbers of a plane, each added at a place of its own.

  The places between the least and the greatest are counted through: at each the
  sum of all numbers whose place it is.
  """
  sub, lane = layout.of(axes)
  array = layout.held(update, sub, lane)
  places = layout.held(at, sub, lane)
  array = _or_zero(array, _met(counted, sub, lane, layout))
  if lane is None:  # lanes of a column are alike
    first = lax.broadcasted_iota(jnp.int32, array.shape, 1) == 0
    array = _or_zero(array, first)

  def one(n):
    return n, jnp.sum(_or_zero(array, places == n))

  return Adds(loops=((jnp.min(places), jnp.max(places) + 1, one),))


def _or_zero(x, where):
  """A number where it counts."""
  x = jnp.asarray(x)
  return jnp.where(where, x, jnp.zeros_like(x))


def _part(index, place: int):
  """The number at a place of an index of several axes."""
  if isinstance(index, Several):
    return index.parts[place]
  if isinstance(index, Whole):
    return index.read(scalar(jnp.int32(place), jnp.int32))
  raise CannotLower("an index of several axes that is computed as one")


def _place(
  starts: Sequence, shape: Sequence[int], sizes: Sequence[int], layout: Layout
) -> tuple[Plane, Plane]:
  """The row-major index of the nearest place that there is, and if it is it."""
  planes = [
    x if isinstance(x, Plane) else scalar(jnp.int32(x), jnp.int32)
    for x in starts
  ]
  axes = frozenset().union(*(x.axes for x in planes))
  sub, lane = layout.of(axes) if axes else (None, None)
  given = [layout.held(x, sub, lane).astype(jnp.int32) for x in planes]

  flat: Any = 0
  inside: Any = jnp.bool_(True)
  for x, n, size, step in zip(given, shape, sizes, steps(shape), strict=True):
    inside = inside & (x >= 0) & (x <= n - size)
    flat = flat + smaller(larger(x, 0), n - size) * step
  flat = jnp.asarray(flat, jnp.int32)
  if not axes:
    return scalar(flat, jnp.int32), scalar(inside, bool)
  return (
    Plane(flat, sub, lane, jnp.dtype(jnp.int32)),
    layout.natural(inside, jnp.dtype(bool), sub, lane),
  )


def _moved(at: Plane, more) -> Plane:
  """An index, some places on."""
  return at._replace(array=at.array + more)


def _filled(x: Plane, inside: Plane, fill, layout: Layout) -> Plane:
  """What was found, or what there is outside of the array."""
  if fill is None:
    return x
  sub, lane = layout.of(x.axes) if x.axes else (None, None)
  array = layout.held(x, sub, lane)
  other = jnp.full_like(array, fill)
  met = _met(inside, sub, lane, layout)
  return x._replace(array=jnp.where(met, array, other))


def _met(x: Plane, sub, lane, layout: Layout):
  """A condition as a vector or matrix of bool."""
  array = layout.held(x, sub, lane)
  return array if array.dtype == bool else array != 0
