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

from attnjax.ops.divided import placed_alike
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
# or another sign for one that no tile cuts: "h" for heads, a dot for the rest.
# "" is an array given whole, such as a table that a score captures.
Layout = str
_CUT = "bts"


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
    blocks[_CUT.index(axis)] if axis in _CUT else size
    for size, axis in zip(shape, layout, strict=True)
  )


class Sweep(NamedTuple):
  """The tiles to visit, in order, and the sizes of their blocks.

  Args:
    tiles: ``N 3``, the block on the axes b, t and s of each tile.
    codes: ``N``, EMPTY, MIXED or FULL of each tile; may be traced.
    blocks: how many batch rows, queries and keys a block has.
    kinds: which codes there can be: a loop is compiled for each.
    courier: brings keys that are kept elsewhere, and takes what is summed over
      queries back to them; None where all keys are here. Called as
      ``courier(walk, sweep, operands, layouts, state, state_layouts)``, where
      ``walk(sweep, operands, state)`` folds the tiles that are here. It is
      hashable, and says what codes it wants.

  >>> import numpy as np
  >>> sweep = Sweep(np.zeros((1, 3), np.int32), np.array([2]), (1, 4, 4), (2,))
  >>> len(sweep.tiles)
  1
  """

  tiles: Int[Array | np.ndarray, "N 3"]
  codes: Int[Array | np.ndarray, " N"]
  blocks: tuple[int, int, int]
  kinds: tuple[int, ...]
  courier: Callable | None = None

  def start(self, layout: Layout, tile) -> tuple:
    """Where the tile's part of an array begins."""
    return tuple(
      tile[_CUT.index(axis)] * self.blocks[_CUT.index(axis)]
      if axis in _CUT
      else np.int32(0)
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

  >>> import jax.numpy as jnp
  >>> import numpy as np
  >>> sweep = Sweep(np.array([[0, 0, 0], [0, 0, 1]]), np.full(2, FULL),
  ...               (1, 1, 2), (FULL,))
  >>> add = lambda full, tile, xs, ys: [ys[0] + xs[0].sum()]
  >>> fold(add, sweep, [jnp.arange(4)], ["s"], [jnp.zeros((), int)], [""])
  [Array(6, dtype=int32...)]
  """
  axes = varying_axes(*operands, *state)
  state = [varying_alike(placed_alike(x, *operands), axes) for x in state]
  if not len(sweep.tiles):
    return state
  if sweep.courier is not None:
    walk = lambda here, operands, state: fold(
      step,
      here._replace(courier=None),
      operands,
      layouts,
      state,
      state_layouts,
    )
    return sweep.courier(walk, sweep, operands, layouts, state, state_layouts)

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
      full = functools.partial(visit, kind == FULL)
      state = _walk(sweep, kind, full, state, operands)
  return state


def _walk(sweep: Sweep, kind: int, visit: Callable, state, operands):
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
  # Of a walk in the body of a loop JAX would compute ahead, for all tiles at
  # once, what depends on nothing but the tiles: masks, as many as logits. Tied
  # to the operands the tiles are no longer known ahead.
  xs, _ = lax.optimization_barrier((xs, list(operands)))
  return lax.scan(lambda c, x: (at(x[0], x[1], c), None), state, xs)[0]


def zeros(shapes: Sequence[jax.ShapeDtypeStruct]) -> list:
  """Sums of nothing."""
  return [lax.full(x.shape, 0, x.dtype, sharding=x.sharding) for x in shapes]
