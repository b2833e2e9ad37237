"""Numbers of captured arrays: looked up, and added to in their gradients.

An index may be the same in all of a tile, as of a batch row or head, or differ
by position, as a bucket of the distance does.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from attnjax.ops.tiles.flat_programs import CannotLower, is_zero
from attnjax.ops.tiles.plane_pointwise import larger, smaller
from attnjax.ops.tiles.planes import (
  Adds,
  Layout,
  Plane,
  Several,
  Whole,
  scalar,
)
from attnjax.ops.tiles.single_numbers import (
  cannot_add,
  cannot_join,
  cannot_look_up,
  fill_value,
)
from attnjax.ops.tiles.stacks import Stack, stacked

__all__ = ["added", "joined", "looked_up"]

_LOOKED_UP = (
  "numbers are looked up in captured arrays, one each or along one axis"
)
_ADDED = "numbers are added to zeros, by position or along one axis"


def joined(line, ins: list) -> Several:
  """Numbers side by side, such as an index of several axes.

  Raises:
    CannotLower: if one of them has an axis of its own there.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from attnjax.ops.tiles.planes import Plane
  >>> pair = lambda x, y: jnp.concatenate([x, y])
  >>> (line,) = jax.make_jaxpr(pair)(jnp.ones(1), jnp.ones(1)).eqns
  >>> row = Plane(jnp.ones((1, 128)), None, "key", jnp.float32)
  >>> len(joined(line, [row, row]).parts)
  2
  """
  place = line.params["dimension"]
  if any(v.aval.shape[place] != 1 for v in line.invars) or not all(
    isinstance(x, Plane) for x in ins
  ):
    raise cannot_join(line)
  return Several(tuple(ins))


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
  name, p, (v,) = line.primitive.name, line.params, line.outvars
  x = ins[0]
  if isinstance(x, Plane) and not x.axes:
    return x  # the same everywhere
  if not isinstance(x, Whole):
    raise cannot_look_up(line, _LOOKED_UP)

  fill = None
  if name == "slice":
    starts: list = list(p["start_indices"])
    sizes = [b - a for a, b in zip(starts, p["limit_indices"], strict=True)]
    if p["strides"] is not None and set(p["strides"]) != {1}:
      raise cannot_look_up(line, _LOOKED_UP)
  elif name == "dynamic_slice":
    starts, sizes = list(ins[1:]), list(p["slice_sizes"])
  else:
    axes = p["dimension_numbers"].start_index_map
    starts = _starts(ins[1], axes, len(x.shape))
    sizes, fill = list(p["slice_sizes"]), fill_value(line, x.dtype)

  at, inside = _place(starts, x.shape, sizes, layout)
  long = [d for d, size in enumerate(sizes) if size != 1]
  if not long:
    return _filled(x.read(at), inside, fill, layout)
  found = {a for a in names[v] if a is not None} - at.axes
  if len(long) > 1 or len(found) != 1:
    raise cannot_look_up(line, _LOOKED_UP)

  step = _steps(x.shape)[long[0]]
  one = lambda n: _filled(x.read(_moved(at, n * step)), inside, fill, layout)
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
  name, p, out = line.primitive.name, line.params, line.outvars[0].aval
  v = line.invars[1 if name == "dynamic_update_slice" else 0]
  dropped, onto = True, list(range(out.ndim))
  if name == "pad":
    update, zeros = ins
    starts: list = [low for low, _, _ in p["padding_config"]]
    if any(low < 0 or high < 0 or n for low, high, n in p["padding_config"]):
      raise cannot_add(line, _ADDED)
  elif name == "dynamic_update_slice":
    zeros, update, *starts = ins
  else:
    (zeros, index, update), v = ins, line.invars[2]
    of = p["dimension_numbers"]
    starts = _starts(index, of.scatter_dims_to_operand_dims, out.ndim)
    dropped = "CLIP" not in str(p["mode"])
    kept = [d for d in onto if d not in of.inserted_window_dims]
    if len(kept) != len(of.update_window_dims):
      raise cannot_add(line, _ADDED)
    onto = [-1] * v.aval.ndim
    for d, place in zip(of.update_window_dims, kept, strict=True):
      onto[d] = place

  if not (isinstance(zeros, Plane) and is_zero(zeros.array)) or not isinstance(
    update, Plane | Stack
  ):
    raise cannot_add(line, _ADDED)
  sizes = [1] * out.ndim
  for d, place in enumerate(onto):
    if place >= 0:
      sizes[place] = v.aval.shape[d]
  at, inside = _place(starts, out.shape, sizes, layout)
  counted = inside if dropped else scalar(jnp.bool_(True), bool)

  long = [d for d, size in enumerate(sizes) if size != 1]
  axes = frozenset(a for a in names[v] if a is not None)
  if isinstance(update, Plane) and not axes:
    return Adds(((at.array, _or_zero(update.array, counted.array)),))
  if not long and isinstance(update, Plane):
    return _added_by_position(update, at, counted, axes, layout)
  if len(long) != 1 or len(axes) != 1 or at.axes:
    raise cannot_add(line, _ADDED)

  step, count = _steps(out.shape)[long[0]], sizes[long[0]]
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


def _starts(index, axes: Sequence[int], rank: int) -> list:
  """The index on each axis; 0 where none is given."""
  starts: list = [0] * rank
  for place, axis in enumerate(axes):
    if isinstance(index, Several):
      starts[axis] = index.parts[place]
    elif isinstance(index, Plane) and len(axes) == 1:
      starts[axis] = index
    elif isinstance(index, Whole):
      number = scalar(jnp.int32(place), jnp.int32)
      starts[axis] = index.read(number)
    else:
      raise CannotLower("an index of several axes that is computed as one")
  return starts


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
  for x, n, size, step in zip(given, shape, sizes, _steps(shape), strict=True):
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


def _steps(shape: Sequence[int]) -> list[int]:
  """How far the next place along each axis is, row-major."""
  steps, far = [], 1
  for size in reversed(shape):
    steps.append(far)
    far *= size
  return steps[::-1]
