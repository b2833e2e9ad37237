"""A walk over tiles as one kernel, whatever the function of a tile is."""

import dataclasses
from collections.abc import Callable, Sequence

import jax

from attnjax.ops.tiles.fold import Filled, Subscripts, Sweep
from attnjax.ops.tiles.visits import Visits

__all__ = ["Kernel"]


@dataclasses.dataclass(frozen=True)
class Kernel:
  """How a kernel visits the tiles of a sweep; static, part of a program.

  `fold` and `tile_sum` lower to it: so do all derivatives, which are sums over
  the same tiles.

  Args:
    visits: in which order.
    interpret: whether Pallas interprets the kernel, on any platform.
    narrow: whether factors of matrix products of default precision are rounded
      to bfloat16, as XLA rounds them on a TPU.
    limit: bytes of VMEM that a kernel may take.

  >>> import numpy as np
  >>> from attnjax.ops.tiles.fold import FULL, Blocks, Sweep
  >>> from attnjax.ops.tiles.visits import Visits
  >>> tiles = np.array([[0, 0, 0, 0]])
  >>> sweep = Sweep(tiles, np.array([FULL]), Blocks(1, 1, 8, 8), (FULL,))
  >>> Kernel(Visits.of(sweep), interpret=True).visits.pairs
  ((0, 0),)
  """

  visits: Visits
  interpret: bool = False
  narrow: bool = False
  limit: int = 64 * 2**20

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

    return walk(
      self,
      function,
      sweep,
      operands,
      subscripts,
      start,
      start_subscripts,
      adds=adds,
    )
