"""The flat program of a tile's function as statements of Triton."""

import math
from collections.abc import Sequence

import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from attnjax.ops.tiles.flat_programs import (
  ADDITIONS,
  LOOKUPS,
  CannotLower,
  FlatProgram,
  contracted_axis,
)
from attnjax.ops.tiles.gpu.lookups import added, looked_up
from attnjax.ops.tiles.gpu.pointwise import POINTWISE, SAME, written
from attnjax.ops.tiles.gpu.terms import (
  Added,
  Axes,
  Listed,
  Term,
  literal,
  type_of,
)
from attnjax.ops.tiles.lookup_lines import Several, joined, of_several

__all__ = ["Statements"]

_MOVES = (
  *("reshape", "broadcast_in_dim", "squeeze", "expand_dims", "transpose"),
  "copy",
)
_NEUTRAL = {"reduce_sum": 0, "reduce_max": -np.inf, "reduce_min": np.inf}


class Statements:
  """Statements, one after the other, and the names that they give.

  Args:
    axes: of the tile.
    narrow: dtype to which factors of matrix products of default precision are
      rounded; None leaves them as they are.
    first: number of the first name.
  """

  def __init__(self, axes: Axes, narrow=None, first: int = 0):
    self.axes, self.narrow = axes, narrow
    self.lines: list[str] = []
    self.count = first

  def let(self, text: str, axes: Sequence[str], dtype, clean=False) -> Term:
    """A new name for an expression."""
    name = f"x{self.count}"
    self.count += 1
    self.lines.append(f"{name} = {text}")
    return Term(name, tuple(axes), jnp.dtype(dtype), clean)

  def fit(self, x: Term, axes: Sequence[str]) -> str:
    """The text of a term where it meets others that have more axes."""
    return self.axes.spread(x.text, x.axes, axes)

  def whole(self, x: Term, axes: Sequence[str]) -> str:
    """The text of a term as an array that has all of some axes."""
    if tuple(x.axes) == tuple(axes):
      return x.text
    text = f"tl.cast({self.fit(x, axes)}, {type_of(x.dtype)})"
    return f"tl.broadcast_to({text}, {self.axes.shape(axes)})"

  def run(self, program: FlatProgram, arguments: Sequence) -> list:
    """The results of a program.

    Args:
      program: of a tile's function.
      arguments: a `Term` or a `Listed` each, or a function that returns one,
        called where it is first used.

    Raises:
      CannotLower: naming the operation that a kernel does not have.
    """
    jaxpr = program.jaxpr
    values: dict = {}
    for v, x in zip(jaxpr.constvars, program.consts, strict=True):
      values[v] = _constant(x)
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def read(v):
      if isinstance(v, jex.Literal):
        return literal(v.val, jnp.result_type(v.aval))
      if callable(values[v]):
        values[v] = values[v]()
      return values[v]

    for line in jaxpr.eqns:
      ins = list(map(read, line.invars))
      outs = self._operation(line, ins, program)
      values.update(zip(line.outvars, outs, strict=True))
    return list(map(read, jaxpr.outvars))

  def _operation(self, line, ins: list, program: FlatProgram) -> list:
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
        return [literal(0, dtype)]
      text = f"tl.cast({self.axes.along(axis)}, {type_of(dtype)})"
      return [self.let(text, (axis,), dtype)]
    if name == "dot_general":
      return [self._product(line, ins, names)]
    if name == "argmax":
      return [self._place_of_largest(line, ins[0], names)]
    if name.startswith("reduce_") and "axes" in p:
      return [self._reduced(line, ins[0], names)]
    if name == "concatenate":
      return [joined(line, ins, Term)]
    if name in LOOKUPS:
      return [looked_up(self, line, ins)]
    if name in ADDITIONS:
      return [added(self, line, ins, names)]
    if name in POINTWISE:
      return [self._pointwise(line, ins)]
    raise CannotLower(f"the operation {name!r}")

  def _pointwise(self, line, ins: list):
    """An operation of each number by itself."""
    if any(isinstance(x, Added) for x in ins):
      return self._of_added(line, ins)
    if any(isinstance(x, Several) for x in ins):
      return of_several(line, ins, lambda parts: self._pointwise(line, parts))
    if any(isinstance(x, Listed) for x in ins):
      return self._of_listed(line, ins)
    axes = self.axes.sorted({a for x in ins for a in x.axes})
    if len(axes) > 2:
      raise CannotLower(
        f"an operation {line.primitive.name!r} of numbers along the axes"
        f" {list(axes)}: more than two"
      )
    name = line.primitive.name
    if name in SAME or (
      name == "convert_element_type"
      and line.params["new_dtype"] == ins[0].dtype
    ):
      return ins[0]
    clean = name == "mul" and any(x.clean for x in ins)
    clean |= name in ("convert_element_type", "neg", "tanh") and ins[0].clean
    texts = [self.fit(x, axes) for x in ins]
    text = written(line, texts, [x.dtype for x in ins])
    return self.let(text, axes, line.outvars[0].aval.dtype, clean)

  def _of_listed(self, line, ins: list) -> Listed:
    """The same of captured arrays and scalars: done where a number is read."""
    shape = next(x.shape for x in ins if isinstance(x, Listed))
    for x in ins:
      if (isinstance(x, Term) and x.axes) or (
        isinstance(x, Listed) and x.shape != shape
      ):
        raise CannotLower(
          f"an operation {line.primitive.name!r} of a captured array"
          f" {list(shape)} as a whole"
        )

    def read(at: Term) -> Term:
      found = [x.read(at) if isinstance(x, Listed) else x for x in ins]
      return self._pointwise(line, found)

    return Listed(read, shape, line.outvars[0].aval.dtype)

  def _of_added(self, line, ins: list) -> Added:
    """The same of what is added to a captured array's gradient."""
    name = line.primitive.name
    if name in ("add", "add_any"):
      numbers = [x.numbers for x in ins if isinstance(x, Added)]
      if len(numbers) < 2 and not all(
        isinstance(x, Added) or x.text in ("0", "0.0") for x in ins
      ):
        raise CannotLower("a captured array's gradient, and something added")
      return Added(sum(numbers, ()))
    if name not in ("mul", "neg", "convert_element_type", *SAME):
      raise CannotLower(
        f"the operation {name!r} of a captured array's gradient"
      )
    (adds,) = [x for x in ins if isinstance(x, Added)]
    if any(not isinstance(x, Term) or x.axes for x in ins if x is not adds):
      raise CannotLower(
        f"the operation {name!r} of a captured array's gradient and an array"
      )
    return Added(
      tuple(
        (at, self._pointwise(line, [n if x is adds else x for x in ins]))
        for at, n in adds.numbers
      )
    )

  def filled(self, x: Term, axis: str, value) -> Term:
    """A term with a number where an axis is padded."""
    if not self.axes.is_padded(axis) or (x.clean and value == 0):
      return x
    at = f"{self.axes.along(axis)} < {self.axes.sizes[axis]}"
    inside = self.axes.spread(f"({at})", (axis,), x.axes)
    text = f"tl.where({inside}, {x.text}, {literal(value, x.dtype).text})"
    return self.let(text, x.axes, x.dtype, clean=value == 0)

  def _reduced(self, line, x, names):
    """A sum, a maximum... over axes."""
    name, v = line.primitive.name, line.invars[0]
    axes = [names[v][d] for d in line.params["axes"] if names[v][d] is not None]
    if not axes or isinstance(x, Added):
      return x
    if isinstance(x, Listed):
      raise CannotLower(f"{name} of a captured array")
    for axis in axes:
      x = self._over(name, x, axis)
    return x

  def _over(self, name: str, x: Term, axis: str) -> Term:
    """A term after a sum, a maximum... over one of its axes."""
    if axis not in x.axes:  # the same all along
      if name != "reduce_sum":
        return x
      return self.let(f"{x.text} * {self.axes.sizes[axis]}", x.axes, x.dtype)
    if x.dtype == bool:
      wide = self.let(f"tl.cast({x.text}, tl.int32)", x.axes, jnp.int32)
      by = "reduce_max" if name == "reduce_or" else "reduce_min"
      found = self._over(by, wide, axis)
      return self.let(f"{found.text} != 0", found.axes, jnp.bool_)

    neutral: float
    if jnp.issubdtype(x.dtype, jnp.integer) and name != "reduce_sum":
      info = jnp.iinfo(x.dtype)
      neutral = info.min if name == "reduce_max" else info.max
    else:
      neutral = _NEUTRAL[name]
    x = self.filled(x, axis, neutral)
    function = f"take_{name.removeprefix('reduce_')}"
    kept = tuple(a for a in x.axes if a != axis)
    text = f"{function}({x.text}, {x.axes.index(axis)})"
    return self.let(f"tl.cast({text}, {type_of(x.dtype)})", kept, x.dtype)

  def _place_of_largest(self, line, x: Term, names) -> Term:
    """argmax: the first index where a value is the largest."""
    (axis,) = [names[line.invars[0]][d] for d in line.params["axes"]]
    dtype = line.outvars[0].aval.dtype
    if axis is None or axis not in x.axes:
      return literal(0, dtype)
    top = self._over("reduce_max", x, axis)
    x = self.filled(x, axis, -np.inf)
    at = self.axes.spread(self.axes.along(axis), (axis,), x.axes)
    text = f"tl.where({x.text} == {self.fit(top, x.axes)}, {at}, 2147483647)"
    places = self.let(text, x.axes, jnp.int32)
    found = self._over("reduce_min", places, axis)
    return self.let(
      f"tl.cast({found.text}, {type_of(dtype)})", found.axes, dtype
    )

  def _product(self, line, ins: list, names) -> Term:
    """A product of matrices, of which all other axes have size 1."""
    if not all(isinstance(x, Term) for x in ins):
      raise CannotLower("a matrix product with a captured array")
    axis = contracted_axis(line, names)

    dtype = line.outvars[0].aval.dtype
    if axis and all(len(x.axes) == 2 and axis in x.axes for x in ins):
      left, right = ins
      return self._on_matrix_unit(line, left, right, axis)

    both = self.axes.sorted({a for x in ins for a in x.axes})
    if len(both) > 2:
      raise CannotLower(f"a matrix product of factors with the axes {both}")
    texts = [f"tl.cast({self.fit(x, both)}, {type_of(dtype)})" for x in ins]
    clean = any(x.clean for x in ins)
    found = self.let(" * ".join(texts), both, dtype, clean)
    return self._over("reduce_sum", found, axis) if axis else found

  def _on_matrix_unit(self, line, x: Term, y: Term, axis: str) -> Term:
    """The product of two matrices."""
    if not (x.clean or y.clean):
      x = self.filled(x, axis, 0)
      y = self.filled(y, axis, 0)
    (a,), (b,) = ([n for n in z.axes if n != axis] for z in (x, y))
    kept = self.axes.sorted((a, b))
    if a != kept[0]:
      x, y = y, x

    precision = line.params["precision"]
    default = "HIGH" not in str(precision)
    as_factor = None
    if self.narrow is not None and default:
      as_factor = type_of(self.narrow)
    elif x.dtype != y.dtype:
      as_factor = type_of(jnp.promote_types(x.dtype, y.dtype))

    texts = []
    for z, place in ((x, 1), (y, 0)):
      text = f"tl.cast({z.text}, {as_factor})" if as_factor else z.text
      turned = z.axes.index(axis) != place
      texts.append(f"tl.trans({text})" if turned else text)
    of = "tf32" if default else "ieee"
    text = f'tl.dot({", ".join(texts)}, input_precision="{of}")'
    dtype = line.outvars[0].aval.dtype
    return self.let(f"tl.cast({text}, {type_of(dtype)})", kept, dtype)


def _constant(x) -> Term:
  """A constant of the program: one number, or the same number many times."""
  first = np.asarray(x).reshape(-1)[:1]
  if np.size(x) and (np.asarray(x) == first).all():
    return literal(first[0], first.dtype)
  raise CannotLower(
    f"a constant array of {jnp.result_type(x)}{list(np.shape(x))}: give it as"
    " one of the arrays that a mask or score mod captures"
  )


def _moved(x, line):
  """Reshapes and broadcasts move no number, if axes stay whole."""
  shape = line.outvars[0].aval.shape
  if isinstance(x, Listed):
    if math.prod(shape) != math.prod(x.shape):
      raise CannotLower(f"a captured array {list(x.shape)} that is broadcast")
    return x._replace(shape=shape)
  if isinstance(x, Several):
    if shape != line.invars[0].aval.shape:
      raise CannotLower(f"a reshape of several numbers to {list(shape)}")
    return x
  if isinstance(x, Term) and x.axes and line.primitive.name == "reshape":
    before = [n for n in line.invars[0].aval.shape if n != 1]
    if before != [n for n in shape if n != 1]:
      raise CannotLower(f"a reshape of axes {before} to {list(shape)}")
  return x
