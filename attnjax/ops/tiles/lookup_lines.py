"""Lines of a program that look numbers up, or add to an array, as they say it.

A kernel of a TPU and one of a GPU find numbers in ways of their own; where, how
many, and what there is outside of the array, each line says to both alike.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from attnjax.ops.tiles.flat_programs import CannotLower

__all__ = [
  "Addition",
  "Lookup",
  "Several",
  "addition_of",
  "cannot_add",
  "cannot_look_up",
  "joined",
  "lookup_of",
  "of_several",
  "steps",
]

_LOOKED_UP = (
  "numbers are looked up in captured arrays, one each or along one axis"
)
_ADDED = "numbers are added to zeros, by position or along one axis"


class Several(NamedTuple):
  """Values side by side, along an axis that is none of a tile's.

  Args:
    parts: one each, such as the index on one axis of an array.
  """

  parts: tuple[Any, ...]


class Lookup(NamedTuple):
  """Which numbers of an array a line finds.

  Args:
    starts: where, on each axis: a number, or a value of the kernel.
    sizes: how many on each axis.
    fill: what is found outside of the array; None: the nearest that there is.
  """

  starts: list
  sizes: list[int]
  fill: Any

  @property
  def long(self) -> list[int]:
    """The axes along which it finds more than one."""
    return [d for d, size in enumerate(self.sizes) if size != 1]


class Addition(NamedTuple):
  """What a line adds to an array, and where.

  Args:
    zeros: what is added to.
    update: what is added.
    starts: where, on each axis: a number, or a value of the kernel.
    sizes: how many on each axis.
    dropped: whether what lies outside of the array is not added.
    variable: the one of the jaxpr that is added.
  """

  zeros: Any
  update: Any
  starts: list
  sizes: list[int]
  dropped: bool
  variable: Any

  @property
  def long(self) -> list[int]:
    """The axes along which it adds more than one."""
    return [d for d, size in enumerate(self.sizes) if size != 1]


def joined(line, ins: Sequence, single: type) -> Several:
  """Numbers side by side, such as an index of several axes.

  Args:
    line: of a jaxpr, a concatenation.
    ins: its arguments, values of the kernel.
    single: the class of a value that is computed.

  Raises:
    CannotLower: if one of them has an axis of its own there.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> pair = lambda x, y: jnp.concatenate([x, y])
  >>> (line,) = jax.make_jaxpr(pair)(jnp.ones(1), jnp.ones(1)).eqns
  >>> joined(line, ["x", "y"], str).parts
  ('x', 'y')
  """
  place = line.params["dimension"]
  sizes = {v.aval.shape[place] for v in line.invars}
  if sizes != {1} or not all(isinstance(x, single) for x in ins):
    raise CannotLower(
      f"a concatenation of {[list(v.aval.shape) for v in line.invars]} within"
      " a tile, as a lookup by position makes"
    )
  return Several(tuple(ins))


def of_several(line, ins: Sequence, one: Callable[[list], Any]) -> Several:
  """An operation of an index of several axes: of each.

  Args:
    line: of a jaxpr.
    ins: its arguments, of which those that are no `Several` are single numbers.
    one: the operation of one number each.

  Raises:
    CannotLower: if an argument has an axis of a tile.

  >>> of_several(None, [Several((1, 2)), Several((3, 4))], sum).parts
  (4, 6)
  """
  (count,) = {len(x.parts) for x in ins if isinstance(x, Several)}
  if any(not isinstance(x, Several) and x.axes for x in ins):
    raise CannotLower(f"an operation {line.primitive.name!r} of an index")
  part = lambda x, k: x.parts[k] if isinstance(x, Several) else x
  return Several(tuple(one([part(x, k) for x in ins]) for k in range(count)))


def lookup_of(line, ins: Sequence, part: Callable[[Any, int], Any]) -> Lookup:
  """Which numbers a gather or slice finds.

  Args:
    line: of a jaxpr.
    ins: its arguments, values of the kernel.
    part: the number at a place of an index of several axes.

  Raises:
    CannotLower: if it slices in steps.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> part = lambda index, place: index[place]
  >>> (line,) = jax.make_jaxpr(lambda x: x[2:3, :])(jnp.ones((4, 8))).eqns
  >>> lookup_of(line, ["x"], part)
  Lookup(starts=[2, 0], sizes=[1, 8], fill=None)
  """
  name, p = line.primitive.name, line.params
  if name == "slice":
    if p["strides"] is not None and set(p["strides"]) != {1}:
      raise cannot_look_up(line)
    starts = list(p["start_indices"])
    limits = zip(starts, p["limit_indices"], strict=True)
    return Lookup(starts, [b - a for a, b in limits], None)
  if name == "dynamic_slice":
    return Lookup(list(ins[1:]), list(p["slice_sizes"]), None)

  axes = p["dimension_numbers"].start_index_map
  starts = _starts(line, ins[1], axes, part)
  return Lookup(starts, list(p["slice_sizes"]), _fill_value(line))


def addition_of(
  line, ins: Sequence, part: Callable[[Any, int], Any]
) -> Addition:
  """What a scatter-add, a pad or an update of a slice adds.

  Args:
    line: of a jaxpr.
    ins: its arguments, values of the kernel.
    part: the number at a place of an index of several axes.

  Raises:
    CannotLower: if it pads by less than nothing, or between numbers.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> pad = lambda x, zero: jax.lax.pad(x, zero, [(1, 2, 0)])
  >>> (line,) = jax.make_jaxpr(pad)(jnp.ones(4), 0.0).eqns
  >>> part = lambda index, place: index[place]
  >>> addition_of(line, ["x", "zero"], part)[:4]
  ('zero', 'x', [1], [4])
  """
  name, p, out = line.primitive.name, line.params, line.outvars[0].aval
  dropped, onto = True, list(range(out.ndim))
  if name == "pad":
    (update, zeros), v = ins, line.invars[0]
    starts: list = [low for low, _, _ in p["padding_config"]]
    if any(low < 0 or high < 0 or n for low, high, n in p["padding_config"]):
      raise cannot_add(line)
  elif name == "dynamic_update_slice":
    (zeros, update, *starts), v = ins, line.invars[1]
  else:
    (zeros, index, update), v = ins, line.invars[2]
    of = p["dimension_numbers"]
    starts = _starts(line, index, of.scatter_dims_to_operand_dims, part)
    dropped = "CLIP" not in str(p["mode"])
    kept = [d for d in onto if d not in of.inserted_window_dims]
    if len(kept) != len(of.update_window_dims):
      raise cannot_add(line)
    onto = [-1] * v.aval.ndim
    for d, place in zip(of.update_window_dims, kept, strict=True):
      onto[d] = place

  sizes = [1] * out.ndim
  for d, place in enumerate(onto):
    if place >= 0:
      sizes[place] = v.aval.shape[d]
  return Addition(zeros, update, starts, sizes, dropped, v)


def _starts(
  line, index, axes: Sequence[int], part: Callable[[Any, int], Any]
) -> list:
  """The index on each axis; 0 where none is given."""
  starts: list = [0] * line.invars[0].aval.ndim
  for place, axis in enumerate(axes):
    single = line.invars[1].aval.shape[-1] == 1
    starts[axis] = index if single else part(index, place)
  return starts


def _fill_value(line) -> Any:
  """What a gather finds outside of its array; None: it takes the nearest."""
  if "FILL" not in str(line.params["mode"]):
    return None
  fill = line.params["fill_value"]
  if fill is not None:
    return fill
  dtype = line.outvars[0].aval.dtype
  return jnp.nan if jnp.issubdtype(dtype, jnp.inexact) else 0


def steps(shape: Sequence[int]) -> list[int]:
  """How far the next place along each axis is, row-major.

  >>> steps((2, 3, 4))
  [12, 4, 1]
  """
  found, far = [], 1
  for size in reversed(shape):
    found.append(far)
    far *= size
  return found[::-1]


def cannot_look_up(line) -> CannotLower:
  """The refusal of a gather or slice, and what there is instead."""
  return CannotLower(
    f"a {line.primitive.name!r} of {list(line.invars[0].aval.shape)} that finds"
    f" {list(line.outvars[0].aval.shape)}: {_LOOKED_UP}"
  )


def cannot_add(line) -> CannotLower:
  """The refusal of an addition to an array, and what there is instead."""
  return CannotLower(
    f"a {line.primitive.name!r} to {list(line.outvars[0].aval.shape)}: {_ADDED}"
  )
