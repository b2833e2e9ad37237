"""A walk over the tiles of a grid: which tiles, and what is cut for each.

A grid has three axes: ``b`` (batch rows), ``t`` (queries) and ``s`` (keys),
each cut into blocks of one size. A tile is one block of each. The walk is a
scan, so that a program does not grow with the lengths; a tile that is empty
costs a branch and no arithmetic.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from attnjax.ops.varying import varying_alike, varying_axes
from attnjax.typing import Array, Int

__all__ = [
  "EMPTY",
  "FULL",
  "MIXED",
  "Layout",
  "Sweep",
  "fold",
  "part_shape",
  "zeros",
]

# What is known of a tile: nothing in it is seen, some of it, all of it.
EMPTY, MIXED, FULL = 0, 1, 2

# A letter for each axis of an array: the axis of the grid that it lies along,
# or a dot. "" is an array given whole, such as a table that a score captures.
Layout = str


def part_shape(
  shape: Sequence[int], layout: Layout, blocks: tuple[int, int, int]
) -> tuple[int, ...]:
  """The shape of a tile's part of an array.

  >>> part_shape((6, 5, 100), "b.t", (2, 16, 16))
  (2, 5, 16)
  """
  if not layout:
    return tuple(shape)
  return tuple(
    size if axis == "." else blocks["bts".index(axis)]
    for size, axis in zip(shape, layout, strict=True)
  )


class Sweep(NamedTuple):
  """The tiles to visit, in order, and the sizes of their blocks.

  Args:
    tiles: ``N 3``, the block on the axes b, t and s of each tile.
    codes: ``N``, EMPTY, MIXED or FULL of each tile; may be traced.
    blocks: how many batch rows, queries and keys a block has.
    kinds: which codes there can be: a loop is compiled for each.

  >>> sweep = Sweep(np.zeros((1, 3), np.int32), np.array([2]), (1, 4, 4), (2,))
  >>> len(sweep.tiles)
  1
  """

  tiles: Int[Array | np.ndarray, "N 3"]
  codes: Int[Array | np.ndarray, " N"]
  blocks: tuple[int, int, int]
  kinds: tuple[int, ...]

  def start(self, layout: Layout, tile) -> tuple:
    """Where the tile's part of an array begins."""
    return tuple(
      np.int32(0)
      if axis == "."
      else tile["bts".index(axis)] * self.blocks["bts".index(axis)]
      for axis in layout
    )


def cut(sweep: Sweep, x, layout: Layout, tile):
  """The part of an array that a tile needs."""
  if not layout:
    return x
  sizes = part_shape(x.shape, layout, sweep.blocks)
  return lax.dynamic_slice(x, sweep.start(layout, tile), sizes)


def put(sweep: Sweep, x, part, layout: Layout, tile):
  """The array with the tile's part replaced."""
  if not layout:
    return part
  return lax.dynamic_update_slice(x, part, sweep.start(layout, tile))


def fold(
  step: Callable,
  sweep: Sweep,
  operands: Sequence,
  layouts,
  state,
  state_layouts,
) -> Any:
  """Folds the tiles into a state, the full ones first, then the mixed.

  Args:
    step: ``(full, tile, parts of the operands, parts of the state) -> parts of
      the state``; `full` says that nothing in the tile is hidden.
    sweep: the tiles.
    operands: arrays, cut for each tile.
    layouts: one a operand.
    state: arrays to begin with.
    state_layouts: one an array of the state.

  Returns:
    The state after the last tile.

  >>> sweep = Sweep(np.array([[0, 0, 0], [0, 0, 1]]), np.full(2, FULL),
  ...               (1, 1, 2), (FULL,))
  >>> add = lambda full, tile, xs, ys: [ys[0] + xs[0].sum()]
  >>> fold(add, sweep, [jnp.arange(4)], ["s"], [jnp.zeros((), int)], [""])
  [Array(6, dtype=int32...)]
  """
  if not len(sweep.tiles):
    return list(state)
  axes = varying_axes(*operands, *state)
  state = [varying_alike(x, axes) for x in state]

  def visit(full, tile, state):
    parts = [
      cut(sweep, x, layout, tile)
      for x, layout in zip(operands, layouts, strict=True)
    ]
    held = [
      cut(sweep, x, layout, tile)
      for x, layout in zip(state, state_layouts, strict=True)
    ]
    new = step(full, tile, parts, held)
    return [
      put(sweep, x, y, layout, tile)
      for x, y, layout in zip(state, new, state_layouts, strict=True)
    ]

  for kind in (FULL, MIXED):
    if kind in sweep.kinds:
      state = _walk(sweep, kind, functools.partial(visit, kind == FULL), state)
  return state


def _walk(sweep: Sweep, kind: int, visit: Callable, state):
  """Visits the tiles of one kind; one tile needs no loop.

  A walk for each kind: of two branches that both write to the state the
  compiler copies the whole of it at each tile; of one and nothing, it does not.
  """

  def at(tile, code, state):
    if sweep.kinds == (kind,):
      return visit(tile, state)
    return lax.cond(code == kind, visit, lambda _, x: x, tile, state)

  if len(sweep.tiles) == 1:
    return at(tuple(sweep.tiles[0]), sweep.codes[0], state)
  xs = (jnp.asarray(sweep.tiles, jnp.int32), jnp.asarray(sweep.codes))
  return lax.scan(lambda c, x: (at(x[0], x[1], c), None), state, xs)[0]


def zeros(shapes: Sequence[jax.ShapeDtypeStruct]) -> list:
  """Sums of nothing."""
  return [jnp.zeros(x.shape, x.dtype) for x in shapes]
