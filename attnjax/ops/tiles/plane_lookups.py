"""Single numbers of captured arrays: found, and added to in their gradients."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from attnjax.ops.tiles.flat_programs import CannotLower, is_zero
from attnjax.ops.tiles.planes import Adds, Plane, Whole, scalar
from attnjax.ops.tiles.single_numbers import (
  cannot_add,
  cannot_join,
  cannot_look_up,
  fill_value,
)

__all__ = ["added", "looked_up"]


def looked_up(line, ins: list):
  """One number of a captured array, at indices that are scalars.

  Args:
    line: of a jaxpr, a gather or a slice.
    ins: its arguments, as planes.

  Raises:
    CannotLower: if it finds more than one number.
  """
  name, p, out = line.primitive.name, line.params, line.outvars[0].aval
  if name == "concatenate":
    return _listed(line, ins)

  x = ins[0]
  if isinstance(x, Plane) and not x.axes:
    return x  # the same everywhere
  if not isinstance(x, Whole) or out.size != 1:
    raise cannot_look_up(line)
  if name == "slice":
    return scalar(x.read(_flat(p["start_indices"], x.shape)), x.dtype)
  if name == "dynamic_slice":
    at, _ = _clipped([y.array for y in ins[1:]], x.shape)
    return scalar(x.read(at), x.dtype)

  axes = p["dimension_numbers"].start_index_map
  at, inside = _clipped(_starts(ins[1], axes, len(x.shape)), x.shape)
  found = x.read(at)
  fill = fill_value(line, x.dtype)
  if fill is not None:
    found = jnp.where(inside, found, jnp.asarray(fill, found.dtype))
  return scalar(found, x.dtype)


def added(line, ins: list) -> Adds:
  """A number added to an array of zeros: the gradient of a lookup.

  Args:
    line: of a jaxpr, a scatter-add, a pad or an update of a slice.
    ins: its arguments, as planes.

  Raises:
    CannotLower: if it adds more than one number, or to other than zeros.
  """
  name, out = line.primitive.name, line.outvars[0].aval
  if name == "pad":
    update, zeros = ins
    at = [jnp.int32(low) for low, _, _ in line.params["padding_config"]]
  elif name == "dynamic_update_slice":
    zeros, update, *index = ins
    at = [x.array for x in index]
  else:
    zeros, index, update = ins
    axes = line.params["dimension_numbers"].scatter_dims_to_operand_dims
    at = _starts(index, axes, out.ndim)

  single = isinstance(update, Plane) and not update.axes
  if not (isinstance(zeros, Plane) and is_zero(zeros.array) and single):
    raise cannot_add(line)
  at, inside = _clipped(at, out.shape)
  number = jnp.asarray(update.array)
  return Adds(((at, jnp.where(inside, number, jnp.zeros_like(number))),))


def _listed(line, ins: list) -> Whole:
  """Single numbers as an array, such as an index of several axes."""
  out = line.outvars[0].aval
  if any(v.aval.size != 1 for v in line.invars) or not all(
    isinstance(x, Plane) and not x.axes for x in ins
  ):
    raise cannot_join(line)
  numbers = tuple(x.array for x in ins)
  return Whole(lambda at: numbers[at], out.shape, out.dtype)


def _starts(index, axes: Sequence[int], rank: int) -> list:
  """The index on each axis; 0 where none is given."""
  starts: list = [jnp.int32(0)] * rank
  for place, axis in enumerate(axes):
    if isinstance(index, Whole):
      starts[axis] = index.read(place)
    elif not index.axes and len(axes) == 1:
      starts[axis] = index.array
    else:
      raise CannotLower("a lookup by position")
  return starts


def _clipped(starts: Sequence, shape: Sequence[int]) -> tuple:
  """The row-major index of the nearest place that there is, and if it is it."""
  starts, inside = (
    [jnp.asarray(at, jnp.int32) for at in starts],
    jnp.bool_(True),
  )
  for at, size in zip(starts, shape, strict=True):
    inside = inside & (at >= 0) & (at < size)
  near = [jnp.clip(at, 0, n - 1) for at, n in zip(starts, shape, strict=True)]
  return _flat(near, shape), inside


def _flat(starts: Sequence, shape: Sequence[int]):
  """The row-major index of a place."""
  found: Any = 0
  for at, size in zip(starts, shape, strict=True):
    found = found * size + at
  return found
