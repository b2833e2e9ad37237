"""A walk over the tiles of a grid: which tiles, and what is cut for each.

A grid has four axes: ``b`` (batch rows), ``h`` (heads), ``t`` (queries) and
``s`` (keys), each cut into blocks of one size. A tile is one block of each. The
walk is a scan, so that a program does not grow with the lengths; a tile that is
empty costs a branch and no arithmetic.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from attnjax.ops.explicit_axes import placed_alike
from attnjax.ops.shard_map_axes import varying_alike, varying_axes
from attnjax.typing import Array, Int

__all__ = [
  "AT_MOST",
  "EMPTY",
  "FULL",
  "MIXED",
  "WHOLE",
  "Blocks",
  "Filled",
  "Subscripts",
  "Sweep",
  "fold",
  "part_shape",
  "zeros",
]

# What is known of a tile: nothing in it is seen, some of it, all of it.
EMPTY, MIXED, FULL = 0, 1, 2

# As of an einsum, a letter for each axis of an array: the axis of the grid that
# it lies along, or a dot for one that no tile cuts. Heads may also be two axes:
# "k", key heads, and "g", the query heads that share one. "" is an array given
# whole, such as a table that a score mod captures. In a kernel a digit is an
# axis of `vmap`, of which a tile has one entry and its function no axis, and
# `WHOLE` an axis of an array that is given whole but for these.
Subscripts = str
WHOLE = "w"
# A program of this name and a number is a loop of at most so many turns.
AT_MOST = "loop_of_at_most_"
_AXES = "bhts"  # of the grid, in the order of a tile's block numbers


class Blocks(NamedTuple):
  """How many batch rows, query heads, queries and keys a tile has.

  Args:
    rows: of the batch.
    heads: query heads. A multiple of `group`, or a divisor of it: a tile has
      whole key heads, or a part of the query heads of one.
    query: queries.
    key: keys.
    group: query heads that share a key head, in the whole grid.

  >>> Blocks(1, 8, 16, 16, group=4).sizes()["k"]  # 8 query heads share 2
  2
  """

  rows: int
  heads: int
  query: int
  key: int
  group: int = 1

  def sizes(self) -> dict[str, int]:
    """The size of a tile's part along each letter that is cut."""
    heads, group = self.heads, self.group
    return {
      "b": self.rows,
      "h": heads,
      "k": max(heads // group, 1),
      "g": min(heads, group),
      "t": self.query,
      "s": self.key,
    }

  def starts(self, tile) -> dict[str, Any]:
    """Where a tile's part begins along each letter, given its block numbers."""
    b, h, t, s = (tile[axis] for axis in range(len(_AXES)))
    first = h * self.heads
    return {
      "b": b * self.rows,
      "h": first,
      "k": first // self.group,
      "g": first % self.group,
      "t": t * self.query,
      "s": s * self.key,
    }


def part_shape(
  shape: Sequence[int], axes: Subscripts, blocks: Blocks
) -> tuple[int, ...]:
  """The shape of a tile's part of an array.

  >>> part_shape((6, 5, 100), "b.t", Blocks(2, 1, 16, 16))
  (2, 5, 16)
  """
  if not axes:
    return tuple(shape)
  sizes = blocks.sizes()
  return tuple(
    sizes.get(axis, size)
    for size, axis in zip(shape, axes, strict=True)
    if not axis.isdigit()
  )


class Filled(NamedTuple):
  """An array that holds one number, to begin a fold with.

  A kernel knows it and reads none.

  >>> Filled((2,), "float32", 1.0).made().tolist()
  [1.0, 1.0]
  """

  shape: tuple[int, ...]
  dtype: Any
  value: Any

  def made(self) -> jax.Array:
    """The array."""
    return jnp.full(self.shape, self.value, self.dtype)


class Sweep(NamedTuple):
  """The tiles to visit, in order, and the sizes of their blocks.

  Args:
    tiles: ``N 4``, the block on the axes b, h, t and s of each tile.
    codes: ``N``, EMPTY, MIXED or FULL of each tile; may be traced.
    blocks: sizes of a tile.
    kinds: which codes there can be: a loop is compiled for each.
    courier: brings keys that are kept elsewhere, and takes what is summed over
      queries back to them; None where all keys are here. Called as
      ``courier(walk, sweep, operands, subscripts, state, state_subscripts)``,
      where ``walk(sweep, operands, state)`` folds the tiles that are here. It
      is hashable, and says what codes it wants.
    listed: whether the tiles of a kind are listed when the program runs, and
      only they visited, in a loop of a length that is not known before; else
      each tile that is not of the kind costs a branch.
    kernel: computes the walk as one kernel; None leaves it to XLA, as a loop.
      See `attnjax.ops.tiles.kernel.Kernel`.

  >>> import numpy as np
  >>> blocks = Blocks(rows=1, heads=1, query=4, key=4)
  >>> sweep = Sweep(np.zeros((1, 4), np.int32), np.array([2]), blocks, (2,))
  >>> len(sweep.tiles)
  1
  """

  tiles: Int[Array | np.ndarray, "N 4"]
  codes: Int[Array | np.ndarray, " N"]
  blocks: Blocks
  kinds: tuple[int, ...]
  courier: Callable | None = None
  listed: bool = False
  kernel: Callable | None = None

  @property
  def uncoded(self) -> "Sweep":
    """The sweep without its codes, which is all of it that may be traced."""
    return self._replace(codes=np.zeros(0, np.int32))

  def start(self, axes: Subscripts, tile) -> tuple:
    """Where the tile's part of an array begins."""
    starts = self.blocks.starts(tile)
    return tuple(starts.get(axis, np.int32(0)) for axis in axes)


def cut(sweep: Sweep, x, axes: Subscripts, tile):
  """The part of an array that a tile needs."""
  if not axes:
    return x
  sizes = part_shape(x.shape, axes, sweep.blocks)
  return lax.dynamic_slice(x, sweep.start(axes, tile), sizes)


def put(sweep: Sweep, x, part, axes: Subscripts, tile):
  """The array with the tile's part replaced."""
  if not axes:
    return part
  return lax.dynamic_update_slice(x, part, sweep.start(axes, tile))


def fold(
  step: Callable,
  sweep: Sweep,
  operands: Sequence,
  subscripts,
  state,
  state_subscripts,
) -> Any:
  """Folds the tiles into a state, the full ones first, then the mixed.

  Args:
    step: ``(full, tile, parts of the operands, parts of the state) -> parts of
      the state``; `full` says that nothing in the tile is hidden.
    sweep: the tiles.
    operands: arrays, cut for each tile.
    subscripts: one a operand.
    state: arrays to begin with, or `Filled` ones.
    state_subscripts: one an array of the state.

  Returns:
    The state after the last tile.

  >>> import jax.numpy as jnp
  >>> import numpy as np
  >>> tiles = np.array([[0, 0, 0, 0], [0, 0, 0, 1]])
  >>> sweep = Sweep(tiles, np.full(2, FULL), Blocks(1, 1, 1, 2), (FULL,))
  >>> add = lambda full, tile, xs, ys: [ys[0] + xs[0].sum()]
  >>> fold(add, sweep, [jnp.arange(4)], ["s"], [jnp.zeros((), int)], [""])
  [Array(6, dtype=int32...)]
  """
  if sweep.kernel is not None:
    return sweep.kernel(
      step, sweep, operands, subscripts, state, state_subscripts, adds=False
    )
  state = [x.made() if isinstance(x, Filled) else x for x in state]
  varying = varying_axes(*operands, *state)
  state = [varying_alike(placed_alike(x, *operands), varying) for x in state]
  if not len(sweep.tiles):
    return state
  if sweep.courier is not None:
    walk = lambda here, operands, state: fold(
      step,
      here._replace(courier=None),
      operands,
      subscripts,
      state,
      state_subscripts,
    )
    return sweep.courier(
      walk, sweep, operands, subscripts, state, state_subscripts
    )

  def visit(full, tile, state):
    parts = [
      cut(sweep, x, axes, tile)
      for x, axes in zip(operands, subscripts, strict=True)
    ]
    held = [
      cut(sweep, x, axes, tile)
      for x, axes in zip(state, state_subscripts, strict=True)
    ]
    new = step(full, tile, parts, held)
    return [
      put(sweep, x, y, axes, tile)
      for x, y, axes in zip(state, new, state_subscripts, strict=True)
    ]

  tiles = jnp.asarray(sweep.tiles, jnp.int32)
  codes = jnp.asarray(sweep.codes)
  # Of a walk in the body of a loop JAX would compute ahead, for all tiles at
  # once, what depends on nothing but the tiles: masks, as many as logits.
  # Tied to the operands the tiles are no longer known ahead.
  (tiles, codes), _ = lax.optimization_barrier(((tiles, codes), list(operands)))

  # A walk for each kind: of two branches that both write to the state the
  # compiler copies the whole of it at each tile; of one and nothing, it does
  # not.
  for kind in (FULL, MIXED):
    if kind not in sweep.kinds:
      continue

    here = functools.partial(visit, kind == FULL)
    one = lambda state, tile, code, kind=kind, here=here: (
      here(tile, state)
      if sweep.kinds == (kind,)
      else lax.cond(code == kind, here, lambda _, x: x, tile, state)
    )

    if len(sweep.tiles) == 1:  # needs no loop
      state = one(state, sweep.tiles[0], sweep.codes[0])
    elif sweep.listed:
      (order,) = jnp.nonzero(codes == kind, size=len(codes), fill_value=0)
      body: Callable = lambda n, state, here=here, order=order: here(
        tiles[order[n]], state
      )
      count = (codes == kind).sum(dtype=jnp.int32)
      # A tile is full or mixed: for who counts operations all are mixed.
      most = len(sweep.tiles) if kind == MIXED else 0
      state = _loop(count, body, state, at_most=most)
    else:
      body = lambda state, x, one=one: (one(state, *x), None)
      state, _ = lax.scan(body, state, (tiles, codes))

  return state


def _loop(count, body: Callable, state: list, *, at_most: int) -> list:
  """A loop of a traced number of turns; its name says how many there may be.

  The jaxpr of such a loop does not tell, see `attnjax.plan.jaxpr_flops`.
  """
  run = lambda count, state: lax.fori_loop(0, count, body, state)
  run.__name__ = f"{AT_MOST}{at_most}"
  return jax.jit(run)(count, state)


def zeros(shapes: Sequence[jax.ShapeDtypeStruct]) -> list:
  """Sums of nothing."""
  return [lax.full(x.shape, 0, x.dtype, sharding=x.sharding) for x in shapes]
