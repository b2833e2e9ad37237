"""A walk over tiles as one kernel, whatever the function of a tile is."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from attnjax.ops.tiles.fold import WHOLE, Filled, Subscripts, Sweep, fold
from attnjax.ops.tiles.visits import Visits

__all__ = ["Kernel"]


@dataclasses.dataclass(frozen=True)
class Kernel:
  """How a kernel visits the tiles of a sweep; static, part of a program.

  In a program that is lowered for another platform than a TPU the same tiles
  are a loop. `fold` and `tile_sum` lower to it: so do all derivatives, which
  are sums over the same tiles.

  Args:
    visits: in which order.
    visits_of_sums: the same of sums, such as gradients; None as of folds.
    interpret: whether Pallas interprets the kernel, on any platform.
    narrow: whether factors of matrix products of default precision are rounded
      to bfloat16, as XLA rounds them on a TPU.
    limit: bytes of VMEM that a kernel may take.
    joins: whether a fold takes tiles of a visit that are of the same queries as
      one, where all of the visit are full.

  >>> import numpy as np
  >>> from attnjax.ops.tiles.fold import FULL, Blocks, Sweep
  >>> from attnjax.ops.tiles.visits import Visits
  >>> tiles = np.array([[0, 0, 0, 0]])
  >>> sweep = Sweep(tiles, np.array([FULL]), Blocks(1, 1, 8, 8), (FULL,))
  >>> Kernel(Visits.of(sweep), interpret=True).visits.pairs
  ((0, 0),)
  """

  visits: Visits
  visits_of_sums: Visits | None = None
  interpret: bool = False
  narrow: bool = False
  limit: int = 64 * 2**20
  joins: bool = False

  def __call__(
    self,
    function: Callable,
    sweep: Sweep,
    operands: Sequence,
    subscripts: Sequence[Subscripts],
    start: Sequence[Filled],
    start_subscripts: Sequence[Subscripts],
    *,
    adds: bool,
  ) -> list[jax.Array]:
    """The arrays after the last tile.

    Args:
      function: as in `fold`, or if `adds` as in `tile_sum`.
      sweep: the tiles.
      operands: arrays, cut for each tile.
      subscripts: one an operand; a digit is an axis of `vmap`.
      start: what the arrays begin with.
      start_subscripts: one an array.
      adds: whether the function returns what is added, else what replaces.
    """
    # Pallas takes a second to import, and is needed by kernels alone.
    from attnjax.ops.tiles.mosaic import walk

    rest = subscripts, start, start_subscripts

    def by_kernel(tiles, codes, *operands):
      here = sweep._replace(tiles=tiles, codes=codes)
      kernel = self
      if adds and self.visits_of_sums is not None:
        kernel = dataclasses.replace(self, visits=self.visits_of_sums)
      return walk(kernel, function, here, operands, *rest, adds=adds)

    def by_loop(tiles, codes, *operands):
      here = sweep._replace(tiles=tiles, codes=codes, kernel=None)
      return _loop(function, here, operands, *rest, adds=adds)

    if self.interpret:
      return by_kernel(sweep.tiles, sweep.codes, *operands)
    # For which platform a program is lowered is known last of all: one traced
    # where a TPU is may be run on the CPU beside it.
    return jax.lax.platform_dependent(
      jnp.asarray(sweep.tiles),
      jnp.asarray(sweep.codes),
      *operands,
      tpu=by_kernel,
      default=by_loop,
    )


def _loop(
  function: Callable,
  sweep: Sweep,
  operands: Sequence,
  subscripts: Sequence[Subscripts],
  start: Sequence[Filled],
  start_subscripts: Sequence[Subscripts],
  *,
  adds: bool,
) -> list[jax.Array]:
  """The same as a loop of XLA, of the same tiles: slow, and right."""
  mapped = sorted({a for axes in subscripts for a in axes if a.isdigit()})
  if mapped:
    letter = mapped[0]
    where = lambda axes: axes.index(letter) if letter in axes else None
    without = lambda axes: axes.replace(letter, "")
    places = [axes.index(letter) for axes in start_subscripts]
    one = [
      x._replace(shape=x.shape[:n] + x.shape[n + 1 :])
      for x, n in zip(start, places, strict=True)
    ]
    return jax.vmap(
      lambda *xs: _loop(
        function,
        sweep,
        xs,
        list(map(without, subscripts)),
        one,
        list(map(without, start_subscripts)),
        adds=adds,
      ),
      in_axes=tuple(map(where, subscripts)),
      out_axes=places,
    )(*operands)

  def step(full, tile, parts, held):
    if not adds:
      return function(full, tile, parts, held)
    new = function(full, tile, *parts)
    return [x + y.astype(x.dtype) for x, y in zip(held, new, strict=True)]

  whole = lambda axes: "" if set(axes) == {WHOLE} else axes
  return fold(
    step,
    sweep,
    operands,
    list(map(whole, subscripts)),
    start,
    list(map(whole, start_subscripts)),
  )
