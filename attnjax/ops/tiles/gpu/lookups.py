"""Numbers of captured arrays, as expressions of Triton.

An index may be the same in all of a tile, as of a batch row or head, or differ
by position, as a bucket of the distance does: a GPU loads from anywhere.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from attnjax.ops.tiles.flat_programs import CannotLower
from attnjax.ops.tiles.gpu.terms import Added, Listed, Term, literal
from attnjax.ops.tiles.lookup_lines import (
  Several,
  addition_of,
  cannot_add,
  cannot_look_up,
  lookup_of,
  steps,
)

__all__ = ["added", "looked_up"]


def looked_up(statements, line, ins: list) -> Term:
  """Numbers of a captured array: one each pair of positions.

  Args:
    statements: that the kernel has so far.
    line: of a jaxpr, a gather or a slice.
    ins: its arguments.

  Raises:
    CannotLower: if it looks up in what is no captured array, or a slice.
  """
  x = ins[0]
  if isinstance(x, Term) and not x.axes:
    return x  # the same everywhere
  of = lookup_of(line, ins, _part)
  if not isinstance(x, Listed) or of.long:
    raise cannot_look_up(line)

  at, inside = _place(statements, of.starts, x.shape, of.sizes)
  found = x.read(at)
  text = found.text
  if of.fill is not None:
    fill = literal(of.fill, x.dtype).text
    text = f"tl.where({inside.text}, {text}, {fill})"
  return statements.let(text, found.axes, found.dtype)


def added(statements, line, ins: list, names: dict) -> Added:
  """What is added to an array of zeros: the gradient of a lookup.

  Args:
    statements: that the kernel has so far.
    line: of a jaxpr, a scatter-add, a pad or an update of a slice.
    ins: its arguments.
    names: of axes, as a `FlatProgram` has them.

  Raises:
    CannotLower: if it adds a slice, or to other than zeros.
  """
  of, out = addition_of(line, ins, _part), line.outvars[0].aval
  update = of.update
  is_zero = isinstance(of.zeros, Term) and of.zeros.text in _ZEROS
  if not (is_zero and isinstance(update, Term)) or of.long:
    raise cannot_add(line)

  at, inside = _place(statements, of.starts, out.shape, of.sizes)
  axes = statements.axes.sorted(a for a in names[of.variable] if a is not None)
  text = statements.whole(update, axes)
  if of.dropped:
    text = f"tl.where({statements.fit(inside, axes)}, {text}, 0)"
  number = statements.let(text, axes, update.dtype)
  for axis in axes:
    number = statements.filled(number, axis, 0)
  if axes:
    at = statements.let(statements.whole(at, axes), axes, at.dtype)
  return Added(((at, number),))


_ZEROS = ("0", "0.0", "False")


def _part(index, place: int):
  """The number at a place of an index of several axes."""
  if isinstance(index, Several):
    return index.parts[place]
  if isinstance(index, Listed):
    return index.read(literal(place, jnp.int32))
  raise CannotLower("an index of several axes that is computed as one")


def _place(
  statements, starts: Sequence[Any], shape: Sequence[int], sizes: Sequence[int]
) -> tuple[Term, Term]:
  """The row-major index of the nearest place that there is, and if it is it."""
  given = [x if isinstance(x, Term) else literal(x, jnp.int32) for x in starts]
  axes = statements.axes.sorted({a for x in given for a in x.axes})
  flat, inside = [], []
  for x, n, size, step in zip(given, shape, sizes, steps(shape), strict=True):
    place = statements.let(f"tl.cast({x.text}, tl.int32)", x.axes, jnp.int32)
    last = n - size
    near = f"tl.minimum(tl.maximum({place.text}, 0), {last}) * {step}"
    found = statements.let(near, x.axes, jnp.int32)
    flat.append(statements.fit(found, axes))
    is_there = f"({place.text} >= 0) & ({place.text} <= {last})"
    found = statements.let(is_there, x.axes, jnp.bool_)
    inside.append(statements.fit(found, axes))
  if not flat:
    return literal(0, jnp.int32), literal(True, bool)

  return (
    statements.let(" + ".join(flat), axes, jnp.int32),
    statements.let(" & ".join(inside), axes, jnp.bool_),
  )
