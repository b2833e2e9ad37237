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
  is_zero,
)
from attnjax.ops.tiles.plane_lookups import added, looked_up
from attnjax.ops.tiles.planes import (
  Adds,
  Layout,
  Plane,
  Whole,
  product,
  reduced,
  scalar,
  summed,
)

__all__ = ["evaluate", "started"]

# Operations of each number by itself, that a TPU has for vectors.
_POINTWISE = """
  abs add add_any and ceil clamp convert_element_type copy copy_p cos div eq erf
  exp exp2 expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max
  min mul ne neg not one_minus_square or pow pvary rem reshard round rsqrt
  select_n shift_left shift_right_arithmetic shift_right_logical sign sin sqrt
  square stop_gradient sub tan tanh xor
"""
_SAME = ("copy", "copy_p", "pvary", "reshard", "stop_gradient")
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
    return list(map(read, jaxpr.outvars))

  products = [
    k
    for k, line in enumerate(jaxpr.eqns)
    if line.primitive.name == "dot_general"
  ]
  first = products[0] + 1 if products else 0
  run(jaxpr.eqns[:first])
  return rest


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
    return [scalar(0, dtype) if axis is None else layout.iota(axis, dtype)]
  if name == "dot_general":
    return [_product(line, ins, program, layout, narrow)]
  if name == "argmax":
    return [_place_of_largest(line, ins[0], names, layout)]
  if name.startswith("reduce_") and "axes" in p:
    return [_reduced(line, ins[0], names, layout)]
  if name in LOOKUPS:
    return [looked_up(line, ins)]
  if name in ADDITIONS:
    return [added(line, ins)]
  if name in _POINTWISE.split():
    return [_pointwise(line, ins, layout)]
  raise CannotLower(f"the operation {name!r}")


def _moved(x, line):
  """Reshapes and broadcasts move no number, if axes stay whole."""
  shape = line.outvars[0].aval.shape
  if isinstance(x, Whole):
    if math.prod(shape) != math.prod(x.shape):
      raise CannotLower(f"a captured array {list(x.shape)} that is broadcast")
    return x._replace(shape=shape)
  if isinstance(x, Plane) and line.primitive.name == "reshape":
    before = [n for n in line.invars[0].aval.shape if n != 1]
    if before != [n for n in shape if n != 1] and x.axes:
      raise CannotLower(f"a reshape of axes {before} to {list(shape)}")
  return x


def _pointwise(line, ins: list, layout: Layout):
  """An operation of each number by itself."""
  dtype = line.outvars[0].aval.dtype
  adds = [x for x in ins if isinstance(x, Adds)]
  if adds:
    return _of_adds(line, ins, layout)
  if any(isinstance(x, Whole) for x in ins):
    return _of_whole(line, ins, layout)

  if any(x.partial for x in ins):
    if _is_linear(line, ins):
      return _of_partial(line, ins, layout)
    ins = [summed(x) for x in ins]
  axes = frozenset().union(*(x.axes for x in ins))
  if len(axes) > 2:
    raise CannotLower(
      f"an operation {line.primitive.name!r} of numbers along the axes"
      f" {sorted(axes)}: more than two"
    )
  sub, lane = layout.of(axes)
  arrays = [layout.held(x, sub, lane) for x in ins]
  vector = (sub is None) != (lane is None)
  arrays = [
    a != 0 if vector and x.dtype == bool else a
    for a, x in zip(arrays, ins, strict=True)
  ]
  return layout.natural(_bound(line, arrays), dtype, sub, lane)


def _is_linear(line, ins: list) -> bool:
  """Whether an operation of partial sums has partial sums."""
  name, partial = line.primitive.name, [x.partial for x in ins]
  columns = {x.sub for x in ins if x.partial}
  if len(columns) > 1 or any(x.lane for x in ins):
    return False
  if name in ("add", "add_any", "sub"):
    return all(partial)
  if name == "mul":
    return partial.count(True) == 1
  return name == "neg" or name in _SAME


def _of_partial(line, ins: list, layout: Layout) -> Plane:
  """The same of partial sums, each lane by itself."""
  (sub,) = {x.sub for x in ins if x.partial}
  arrays = [x.array if x.partial else layout.held(x, sub, None) for x in ins]
  dtype = line.outvars[0].aval.dtype
  return Plane(_bound(line, arrays), sub, None, dtype, partial=True)


def _bound(line, arrays: list):
  """The operation itself, on arrays of one shape."""
  name = line.primitive.name
  if name in _SAME:
    return arrays[0]
  if name == "convert_element_type":
    return arrays[0].astype(line.params["new_dtype"])
  if name == "add_any":
    return arrays[0] + arrays[1]
  if name == "is_finite":
    return jnp.abs(arrays[0]) < jnp.inf
  if name == "square":
    return arrays[0] * arrays[0]
  if name == "one_minus_square":  # of JAX 0.12, in derivatives of tanh
    return (1 - arrays[0]) * (1 + arrays[0])
  if name == "select_n" and len(arrays) == 3:
    return jnp.where(arrays[0], arrays[2], arrays[1])
  return line.primitive.bind(*arrays, **line.params)


def _of_whole(line, ins: list, layout: Layout) -> Whole:
  """The same of captured arrays and scalars: done where a number is read."""
  shape = next(x.shape for x in ins if isinstance(x, Whole))
  for x in ins:
    if (isinstance(x, Plane) and x.axes) or (
      isinstance(x, Whole) and x.shape != shape
    ):
      raise CannotLower(
        f"an operation {line.primitive.name!r} of a captured array"
        f" {list(shape)} as a whole"
      )

  def read(at):
    found = [
      scalar(x.read(at), x.dtype) if isinstance(x, Whole) else x for x in ins
    ]
    return _pointwise(line, found, layout).array

  return Whole(read, shape, line.outvars[0].aval.dtype)


def _of_adds(line, ins: list, layout: Layout) -> Adds:
  """The same of what is added to a captured array's gradient."""
  name = line.primitive.name
  if name in ("add", "add_any"):
    numbers = [
      x.numbers for x in ins if isinstance(x, Adds) or not is_zero(x.array)
    ]
    return Adds(sum(numbers, ()))
  if name not in ("mul", "neg", "convert_element_type", *_SAME):
    raise CannotLower(f"the operation {name!r} of a captured array's gradient")

  (adds,) = [x for x in ins if isinstance(x, Adds)]
  dtype = next(
    v.aval.dtype for v, x in zip(line.invars, ins, strict=True) if x is adds
  )
  of = lambda number: _pointwise(
    line, [scalar(number, dtype) if x is adds else x for x in ins], layout
  )
  return Adds(tuple((at, of(number).array) for at, number in adds.numbers))


def _reduced(line, x, names, layout: Layout) -> Any:
  """A sum, a maximum... over axes."""
  name, v = line.primitive.name, line.invars[0]
  axes = [names[v][d] for d in line.params["axes"] if names[v][d] is not None]
  if not axes or isinstance(x, Adds):
    return x
  if isinstance(x, Whole):
    raise CannotLower(f"{name} of a captured array")
  for axis in axes:
    x = reduced(layout, name, x, axis)
  return x


def _place_of_largest(line, x: Plane, names, layout: Layout) -> Plane:
  """argmax: the first index where a value is the largest."""
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


def _product(line, ins: list, program: FlatProgram, layout, narrow) -> Plane:
  """A product of matrices, of which all other axes have size 1."""
  if not all(isinstance(x, Plane) for x in ins):
    raise CannotLower("a matrix product with a captured array")
  axis = contracted_axis(line, program.names)

  dtype, precision = line.outvars[0].aval.dtype, line.params["precision"]
  narrow = narrow and _is_default(precision) and dtype == jnp.float32
  # Where the axis is in only one of the two, or a factor has no other axis,
  # the vector unit multiplies and sums.
  if axis and all(len(z.axes) == 2 and axis in z.axes for z in ins):
    x, y = ins
    return product(
      layout, x, y, axis, dtype=dtype, precision=precision, narrow=narrow
    )

  both = ins[0].axes | ins[1].axes
  if len(both) > 2:
    raise CannotLower(f"a matrix product of factors with the axes {both}")
  sub, lane = layout.of(both)
  left, right = (layout.held(z, sub, lane).astype(dtype) for z in ins)
  found = Plane(left * right, sub, lane, dtype)
  return reduced(layout, "reduce_sum", found, axis) if axis else found


def _is_default(precision) -> bool:
  """Whether a precision is the default one."""
  values = precision if isinstance(precision, tuple) else (precision,)
  return all(x in (None, lax.Precision.DEFAULT) for x in values)
