"""Single numbers of captured arrays, as expressions of Triton."""

from collections.abc import Sequence

import jax.numpy as jnp

from attnjax.ops.tiles.flat_programs import CannotLower
from attnjax.ops.tiles.gpu.terms import Added, Listed, Term, literal
from attnjax.ops.tiles.single_numbers import (
  cannot_add,
  cannot_join,
  cannot_look_up,
  fill_value,
)

__all__ = ["added", "looked_up"]

_LOOKED_UP = (
  "a tile can look up single numbers, by batch row and head, and nothing by"
  " position"
)
_ADDED = "a tile adds single numbers only, to zeros"


def looked_up(statements, line, ins: list):
  """One number of a captured array, at indices that are scalars.

  Args:
    statements: that the kernel has so far.
    line: of a jaxpr, a gather or a slice.
    ins: its arguments.

  Raises:
    CannotLower: if it finds more than one number.
  """
  name, p, out = line.primitive.name, line.params, line.outvars[0].aval
  if name == "concatenate":
    return _joined(line, ins)
  x = ins[0]
  if isinstance(x, Term) and not x.axes:
    return x  # the same everywhere
  if not isinstance(x, Listed) or out.size != 1:
    raise cannot_look_up(line, _LOOKED_UP)
  if name == "slice":
    return x.read(_flat([str(n) for n in p["start_indices"]], x.shape))
  if name == "dynamic_slice":
    at, _ = _clipped(statements, [y.text for y in ins[1:]], x.shape)
    return x.read(at)

  axes = p["dimension_numbers"].start_index_map
  at, inside = _clipped(
    statements, _starts(ins[1], axes, len(x.shape)), x.shape
  )
  found = x.read(at)
  fill = fill_value(line, x.dtype)
  if fill is not None:
    text = f"tl.where({inside}, {found.text}, {literal(fill, x.dtype).text})"
    found = statements.let(text, (), found.dtype)
  return found


def added(statements, line, ins: list) -> Added:
  """A number added to an array of zeros: the gradient of a lookup.

  Args:
    statements: that the kernel has so far.
    line: of a jaxpr, a scatter-add, a pad or an update of a slice.
    ins: its arguments.

  Raises:
    CannotLower: if it adds more than one number, or to other than zeros.
  """
  name, out = line.primitive.name, line.outvars[0].aval
  if name == "pad":
    update, zeros = ins
    at = [str(low) for low, _, _ in line.params["padding_config"]]
  elif name == "dynamic_update_slice":
    zeros, update, *index = ins
    at = [x.text for x in index]
  else:
    zeros, index, update = ins
    axes = line.params["dimension_numbers"].scatter_dims_to_operand_dims
    at = _starts(index, axes, out.ndim)

  single = isinstance(update, Term) and not update.axes
  is_zero = isinstance(zeros, Term) and zeros.text in ("0", "0.0", "False")
  if not (is_zero and single):
    raise cannot_add(line, _ADDED)
  place, inside = _clipped(statements, at, out.shape)
  text = f"tl.where({inside}, {update.text}, 0)"
  return Added(((place, statements.let(text, (), update.dtype)),))


def _joined(line, ins: list) -> Listed:
  """Single numbers as an array, such as an index of several axes."""
  out = line.outvars[0].aval
  if any(v.aval.size != 1 for v in line.invars) or not all(
    isinstance(x, Term) and not x.axes for x in ins
  ):
    raise cannot_join(line)
  return Listed(lambda at: ins[int(at)], out.shape, out.dtype)


def _starts(index, axes: Sequence[int], rank: int) -> list[str]:
  """The index on each axis; 0 where none is given."""
  starts = ["0"] * rank
  for place, axis in enumerate(axes):
    if isinstance(index, Listed):
      starts[axis] = index.read(str(place)).text
    elif not index.axes and len(axes) == 1:
      starts[axis] = index.text
    else:
      raise CannotLower("a lookup by position")
  return starts


def _clipped(statements, starts: Sequence[str], shape) -> tuple[str, str]:
  """The row-major index of the nearest place that there is, and if it is it."""
  near, inside = [], []
  for at, size in zip(starts, shape, strict=True):
    text = f"tl.full((), 0, tl.int32) + ({at})"
    given = statements.let(text, (), jnp.int32).text
    text = f"tl.minimum(tl.maximum({given}, 0), {size - 1})"
    near.append(statements.let(text, (), jnp.int32).text)
    inside.append(f"({given} >= 0) & ({given} < {size})")
  return _flat(near, shape), " & ".join(f"({x})" for x in inside or ["True"])


def _flat(starts: Sequence[str], shape) -> str:
  """The row-major index of a place."""
  found = "0"
  for at, size in zip(starts, shape, strict=True):
    found = f"({found} * {size} + {at})"
  return found
