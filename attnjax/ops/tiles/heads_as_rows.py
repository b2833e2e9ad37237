"""One query of several heads, as several queries of one head: for decoding.

A call of one query has nothing to fill a matrix with but the query heads that
share a key head. As rows of one tile they read its keys once, not once each:

    logits [g, s] = q[k, g] · key[k, s],   T = 1

Only axes of size 1 come and go, so that the function of a tile stays as it is.
"""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp

from attnjax.ops.tiles.fold import (
  WHOLE,
  Blocks,
  Filled,
  Subscripts,
  Sweep,
  part_shape,
)

__all__ = ["are_rows", "with_heads_as_rows"]


def are_rows(blocks: Blocks) -> bool:
  """Whether a tile is of one query of all heads that share a key head.

  >>> from attnjax.ops.tiles.fold import Blocks
  >>> are_rows(Blocks(1, 4, 1, 128, group=4)), are_rows(Blocks(1, 1, 1, 128))
  (True, False)
  """
  return blocks.heads == blocks.group > 1 and blocks.query == 1


def with_heads_as_rows(
  walk: Callable,
  function: Callable,
  sweep: Sweep,
  operands: Sequence,
  subscripts: Sequence[Subscripts],
  start: Sequence[Filled],
  start_subscripts: Sequence[Subscripts],
  *,
  adds: bool,
) -> list:
  """The arrays after the last tile, of a walk whose rows are query heads.

  Args:
    walk: of the arguments that follow, with one head a tile.
    function: as `walk` has it, of tiles of one query of a group of heads.
    sweep: its tiles, for which `are_rows`.
    operands: arrays.
    subscripts: one an operand.
    start: what the arrays begin with.
    start_subscripts: one an array.
    adds: whether the function returns what is added.
  """
  blocks = sweep.blocks
  rows = Blocks(1, 1, blocks.heads, blocks.key)
  every = [*subscripts, *start_subscripts]
  shapes = [jnp.shape(x) for x in operands] + [x.shape for x in start]
  forms = [
    _form(shape, axes, blocks.heads)
    for shape, axes in zip(shapes, every, strict=True)
  ]
  count = len(operands)
  inner = [
    part_shape(shape, axes, blocks)
    for shape, axes in zip(shapes, every, strict=True)
  ]
  outer = [part_shape(shape, axes, rows) for shape, axes in forms]
  of = lambda xs, to: [
    jnp.reshape(x, shape) for x, shape in zip(xs, to, strict=True)
  ]

  def of_rows(full, tile, *parts):
    if adds:
      found = function(full, tile, *of(parts, inner[:count]))
    else:
      given, held = parts
      found = function(
        full, tile, of(given, inner[:count]), of(held, inner[count:])
      )
    return of(found, outer[count:])

  found = walk(
    of_rows,
    sweep._replace(blocks=rows),
    of(operands, [shape for shape, _ in forms[:count]]),
    [axes for _, axes in forms[:count]],
    [
      x._replace(shape=shape)
      for x, (shape, _) in zip(start, forms[count:], strict=True)
    ],
    [axes for _, axes in forms[count:]],
    adds=adds,
  )
  return of(found, shapes[count:])


def _form(shape, axes: Subscripts, group: int) -> tuple[tuple, Subscripts]:
  """The shape and subscripts of an array, its groups of heads as queries."""
  if not axes or WHOLE in axes:
    return tuple(shape), axes
  sizes: list[int] = []
  letters = ""
  for n, a in zip(shape, axes, strict=True):
    if a == "t":  # there is one query
      continue
    if a == "h":
      sizes += [n // group, group]
      letters += "kt"
    else:
      sizes.append(n)
      letters += "t" if a == "g" else a
  if math.prod(sizes) != math.prod(shape):
    raise ValueError(
      f"with_heads_as_rows: one query was expected, got {list(shape)} {axes!r}"
    )
  return tuple(sizes), letters
