"""Evaluates the flat program of a tile's function on planes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax import lax

from attnjax.ops.tiles.flat_programs import (
  ADDITIONS,
  LOOKUPS,
  CannotLower,
  FlatProgram,
  contracted_axis,
)
from attnjax.ops.tiles.lookup_lines import Several, joined
from attnjax.ops.tiles.plane_lookups import added, looked_up
from attnjax.ops.tiles.plane_pointwise import POINTWISE, names_of, pointwise
from attnjax.ops.tiles.planes import (
  Adds,
  Layout,
  Plane,
  Whole,
  product,
  reduced,
  scalar,
)
from attnjax.ops.tiles.stacks import (
  Stack,
  materialized,
  reduced_stack,
  stack_of_iota,
  stacked,
  third_axis,
)

__all__ = ["evaluate", "started"]

_MOVES = (
  *("reshape", "broadcast_in_dim", "squeeze", "expand_dims", "transpose"),
  "optimization_barrier",
)


def evaluate(
  program: FlatProgram, layout: Layout, arguments: Sequence, narrow: bool
) -> list:
  """The results of a program, of arguments that are planes; see `started`."""
  return started(program, layout, arguments, narrow)()


def started(
  program: FlatProgram, layout: Layout, arguments: Sequence, narrow: bool
) -> Callable[[], list]:
  """Evaluates a program up to its first matrix product; returns the rest.

  So the first product of one tile can be begun before the rest of the one
  before it, and the matrix unit is not idle meanwhile.

  Args:
    program: of a tile's function.
    layout: of planes.
    arguments: a `Plane` or a `Whole` each, or a function that returns one,
      called where it is first used.
    narrow: whether factors of matrix products of default precision are rounded
      to bfloat16, as XLA rounds them on a TPU.

  Raises:
    CannotLower: naming the operation that planes do not have.

  >>> import jax, jax.numpy as jnp
  >>> from attnjax.ops.tiles.flat_programs import flat_program
  >>> from attnjax.ops.tiles.planes import Layout, Plane
  >>> x = jax.ShapeDtypeStruct((8, 4), "float32")
  >>> program = flat_program(lambda x: [(2 * x).sum(0)], [x], ["t."])
  >>> x = Plane(jnp.ones((8, 4)), "t", "f4", jnp.dtype("float32"))
  >>> (y,) = started(program, Layout(("t", "s"), program.sizes), [x], False)()
  >>> y.lane, y.array.tolist()
  ('f4', [[16.0, 16.0, 16.0, 16.0]])
  """
  jaxpr, values = program.jaxpr, {}
  for v, x in zip(jaxpr.constvars, program.consts, strict=True):
    values[v] = _constant(x)
  values.update(zip(jaxpr.invars, arguments, strict=True))

  def read(v):
    if isinstance(v, jex.Literal):
      return scalar(v.val, jnp.result_type(v.aval))
    if callable(values[v]):
      values[v] = values[v]()
    return values[v]

  def run(lines):
    for line in lines:
      ins = list(map(read, line.invars))
      outs = _operation(line, ins, program, layout, narrow)
      values.update(zip(line.outvars, outs, strict=True))

  def rest() -> list:
    run(jaxpr.eqns[first:])
    return _planes(layout, list(map(read, jaxpr.outvars)))

  products = [
    k
    for k, line in enumerate(jaxpr.eqns)
    if line.primitive.name == "dot_general"
  ]
  first = products[0] + 1 if products else 0
  run(jaxpr.eqns[:first])
  return rest


def _planes(layout: Layout, found: list) -> list:
  """Results, of which those that are stacks of vectors are matrices.

  A stack of single numbers stays one: they are added one by one.
  """
  later: dict[str, list[int]] = {}
  for k, x in enumerate(found):
    if isinstance(x, Stack) and x.inner:
      later.setdefault(x.axis, []).append(k)
  for places in later.values():
    planes = materialized(layout, [found[k] for k in places])
    for k, x in zip(places, planes, strict=True):
      found[k] = x
  return found


def _constant(x):
  """A constant of the program: one number, or the same number many times."""
  first = np.asarray(x).reshape(-1)[:1]
  if np.size(x) and (np.asarray(x) == first).all():
    return scalar(first[0], first.dtype)
  raise CannotLower(
    f"a constant array of {jnp.result_type(x)}{list(np.shape(x))}: give it as"
    " one of the arrays that a mask or score mod captures"
  )


def _operation(line, ins: list, program: FlatProgram, layout, narrow) -> list:
  """The results of one operation."""
  name, p, out = line.primitive.name, line.params, line.outvars[0]
  names, dtype = program.names, out.aval.dtype

  if name == "optimization_barrier":
    return ins
  if name in _MOVES:
    return [_moved(ins[0], line)]
  if name == "iota":
    axis = names[out][p["dimension"]]
    if axis is None:
      return [scalar(0, dtype)]
    if axis not in layout.order:
      return [stack_of_iota(axis, dtype)]
    return [layout.iota(axis, dtype)]
  if name == "dot_general":
    return [_product(line, ins, program, layout, narrow)]
  if name == "argmax":
    return [_place_of_largest(line, ins[0], names, layout)]
  if name.startswith("reduce_") and "axes" in p:
    return [_reduced(line, ins[0], names, layout)]
  if name == "concatenate":
    return [joined(line, ins, Plane)]
  if name in LOOKUPS:
    return [looked_up(line, ins, names, layout)]
  if name in ADDITIONS:
    return [added(line, ins, names, layout)]
  if name in POINTWISE:
    return [pointwise(line, ins, layout, names)]
  raise CannotLower(f"the operation {name!r}")


def _moved(x, line):
  """Reshapes and broadcasts move no number, if axes stay whole."""
  shape = line.outvars[0].aval.shape
  if isinstance(x, Whole):
    if math.prod(shape) != math.prod(x.shape):
      raise CannotLower(f"a captured array {list(x.shape)} that is broadcast")
    return x._replace(shape=shape)
  if isinstance(x, Several):
    if shape != line.invars[0].aval.shape:
      raise CannotLower(f"a reshape of several numbers to {list(shape)}")
    return x
  if isinstance(x, Plane | Stack) and line.primitive.name == "reshape":
    before = [n for n in line.invars[0].aval.shape if n != 1]
    if before != [n for n in shape if n != 1] and x.axes:
      raise CannotLower(f"a reshape of axes {before} to {list(shape)}")
  return x


def _reduced(line, x, names, layout: Layout) -> Any:
  """A sum, a maximum... over axes."""
  name, v = line.primitive.name, line.invars[0]
  axes = [names[v][d] for d in line.params["axes"] if names[v][d] is not None]
  if not axes or isinstance(x, Adds):
    return x
  if isinstance(x, Whole | Several):
    raise CannotLower(f"{name} of a captured array")
  return _over(layout, name, x, axes)


def _over(layout: Layout, name: str, x, axes: Sequence[str]):
  """A value after a sum, a maximum... over some of its axes.

  A third one first, as planes are added, then that in sublanes: so what is left
  to add lane by lane is one row.
  """
  third = x.axis if isinstance(x, Stack) else None
  for axis in sorted(axes, key=lambda a: (a != third, a == layout.order[1])):
    by = reduced_stack if isinstance(x, Stack) else reduced
    x = by(layout, name, x, axis)
  return x


def _place_of_largest(line, x: Plane, names, layout: Layout) -> Plane:
  """argmax: the first index where a value is the largest."""
  if not isinstance(x, Plane):
    raise CannotLower("argmax of a captured array, or of numbers along 3 axes")
  (axis,) = [names[line.invars[0]][d] for d in line.params["axes"]]
  dtype = line.outvars[0].aval.dtype
  if axis is None or axis not in x.axes:
    return scalar(0, dtype)

  sub, lane = layout.of(x.axes)
  top = reduced(layout, "reduce_max", x, axis)
  places = layout.held(layout.iota(axis, jnp.dtype(jnp.int32)), sub, lane)
  size = layout.sizes[axis]
  largest = layout.held(x, sub, lane) == layout.held(top, sub, lane)
  first = jnp.where(largest, places, size)
  plane = Plane(first, sub, lane, jnp.dtype(jnp.int32))
  return reduced(layout, "reduce_min", plane, axis)._replace(dtype=dtype)


def _product(line, ins: list, program: FlatProgram, layout, narrow):
  """A product of matrices, or of what else it is that sums over axes."""
  names = program.names
  planes = all(isinstance(x, Plane) for x in ins)
  try:
    axis = contracted_axis(line, names)
  except CannotLower:
    axis, planes = None, False
  dtype, precision = line.outvars[0].aval.dtype, line.params["precision"]
  narrow = narrow and _is_default(precision) and dtype == jnp.float32
  if planes and axis and all(len(z.axes) == 2 and axis in z.axes for z in ins):
    x, y = ins
    return product(
      layout, x, y, axis, dtype=dtype, precision=precision, narrow=narrow
    )

  # Where the axis is in only one of the two, or a factor has no other axis, or
  # there is a third one, the vector unit multiplies and sums.
  def times(planes: list) -> Plane:
    sub, lane = layout.of(planes[0].axes | planes[1].axes)
    left, right = (layout.held(z, sub, lane).astype(dtype) for z in planes)
    return Plane(left * right, sub, lane, dtype)

  third = third_axis(ins, [names_of(v, names) for v in line.invars])
  found: Any
  if third is None:
    found = times(ins)
  else:
    found = stacked(layout, ins, third, times, dtype)
  (over, _), _ = line.params["dimension_numbers"]
  axes = [names[line.invars[0]][d] for d in over]
  return _over(layout, "reduce_sum", found, [a for a in axes if a is not None])


def _is_default(precision) -> bool:
  """Whether a precision is the default one."""
  values = precision if isinstance(precision, tuple) else (precision,)
  return all(x in (None, lax.Precision.DEFAULT) for x in values)
