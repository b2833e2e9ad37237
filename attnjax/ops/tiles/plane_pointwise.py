"""Operations of each number of a tile by itself, whatever holds the numbers."""

import jax.extend.core as jex
import jax.numpy as jnp

from attnjax.ops.tiles.flat_programs import CannotLower, is_zero
from attnjax.ops.tiles.lookup_lines import Several, of_several
from attnjax.ops.tiles.planes import (
  Adds,
  Layout,
  Plane,
  Whole,
  scalar,
  summed,
)
from attnjax.ops.tiles.stacks import Stack, stacked, third_axis

__all__ = ["POINTWISE", "larger", "names_of", "pointwise", "smaller"]

# Operations of each number by itself, that a TPU has for vectors.
_NAMES = """
  abs add add_any and ceil clamp convert_element_type copy copy_p cos div eq erf
  exp exp2 expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max
  min mul ne neg not one_minus_square or pow pvary rem reshard round rsqrt
  select_n shift_left shift_right_arithmetic shift_right_logical sign sin sqrt
  square stop_gradient sub tan tanh xor
"""
POINTWISE = frozenset(_NAMES.split())
_SAME = ("copy", "copy_p", "pvary", "reshard", "stop_gradient")


def pointwise(line, ins: list, layout: Layout, names: dict):
  """An operation of each number by itself."""
  dtype = line.outvars[0].aval.dtype
  if any(isinstance(x, Adds) for x in ins):
    return _of_adds(line, ins, layout, names)
  if any(isinstance(x, Several) for x in ins):
    one = lambda parts: pointwise(line, parts, layout, names)
    return of_several(line, ins, one)
  whole = any(isinstance(x, Whole) for x in ins)
  if whole and not any(isinstance(x, Stack) or x.axes for x in _planar(ins)):
    return _of_whole(line, ins, layout, names)

  axis = third_axis(ins, [names_of(v, names) for v in line.invars])
  if axis is not None:
    one = lambda planes: pointwise(line, planes, layout, names)
    return stacked(layout, ins, axis, one, dtype)

  if any(x.partial for x in ins):
    if _is_linear(line, ins):
      return _of_partial(line, ins, layout)
    ins = [summed(x) for x in ins]
  axes = frozenset().union(*(x.axes for x in ins))
  sub, lane = layout.of(axes)
  arrays = [layout.held(x, sub, lane) for x in ins]
  vector = (sub is None) != (lane is None)
  arrays = [
    a != 0 if vector and x.dtype == bool else a
    for a, x in zip(arrays, ins, strict=True)
  ]
  return layout.natural(_bound(line, arrays), dtype, sub, lane)


def _planar(ins: list) -> list:
  """What of some values is no captured array."""
  return [x for x in ins if not isinstance(x, Whole)]


def names_of(v, names: dict) -> tuple:
  """The names of the axes of a value of a program."""
  return () if isinstance(v, jex.Literal) else names[v]


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
  if jnp.issubdtype(arrays[-1].dtype, jnp.integer):
    if name in ("min", "max"):
      return smaller(*arrays) if name == "min" else larger(*arrays)
    if name == "clamp":
      return smaller(larger(arrays[1], arrays[0]), arrays[2])
  return line.primitive.bind(*arrays, **line.params)


def smaller(a, b):
  """The smaller of two integers.

  Of numbers that are known to be at least 0, libtpu 0.0.42, which `jax[tpu]`
  0.10 installs, makes min and max operations of unsigned ones, and then has no
  such operation of vectors.

  >>> int(smaller(3, -1)), int(larger(3, -1))
  (-1, 3)
  """
  return jnp.where(a < b, a, b)


def larger(a, b):
  """The larger of two integers, see `smaller`."""
  return jnp.where(a < b, b, a)


def _of_whole(line, ins: list, layout: Layout, names: dict) -> Whole:
  """The same of captured arrays and scalars: done where a number is read."""
  shape = next(x.shape for x in ins if isinstance(x, Whole))
  if any(isinstance(x, Whole) and x.shape != shape for x in ins):
    raise CannotLower(
      f"an operation {line.primitive.name!r} of a captured array"
      f" {list(shape)} as a whole"
    )

  def read(at: Plane) -> Plane:
    found = [x.read(at) if isinstance(x, Whole) else x for x in ins]
    return pointwise(line, found, layout, names)

  return Whole(read, shape, line.outvars[0].aval.dtype)


def _of_adds(line, ins: list, layout: Layout, names: dict) -> Adds:
  """The same of what is added to a captured array's gradient."""
  name = line.primitive.name
  if name in ("add", "add_any"):
    adds = [x for x in ins if isinstance(x, Adds)]
    if len(adds) < 2 and not all(
      isinstance(x, Adds) or is_zero(x.array) for x in ins
    ):
      raise CannotLower("a captured array's gradient, and something added")
    return Adds(
      sum((x.numbers for x in adds), ()), sum((x.loops for x in adds), ())
    )
  if name not in ("mul", "neg", "convert_element_type", *_SAME):
    raise CannotLower(f"the operation {name!r} of a captured array's gradient")

  (adds_,) = [x for x in ins if isinstance(x, Adds)]
  dtype = next(
    v.aval.dtype for v, x in zip(line.invars, ins, strict=True) if x is adds_
  )
  return adds_.map(
    lambda number: (
      pointwise(
        line,
        [scalar(number, dtype) if x is adds_ else x for x in ins],
        layout,
        names,
      ).array
    )
  )
