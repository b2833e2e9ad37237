"""Coordinates of a tile of logits: batch row, head, query and key."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from attnjax.typing import Array, Int

__all__ = ["Area", "Grid", "row", "unfolded"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
  """Coordinates of a tile of logits; each broadcasts to ``*B H T S``.

  A position says where a token stands in its sequence; an index says where it
  stands in the array. They differ when decoding, in packed documents and in
  permuted shards. All have the same rank, so that they broadcast under JAX's
  strictest rank promotion.
  """

  batch: Int[Array, "..."]
  head: Int[Array, "..."]
  query_position: Int[Array, "..."]
  key_position: Int[Array, "..."]
  query_index: Int[Array, "..."]
  key_index: Int[Array, "..."]

  @classmethod
  def of(
    cls,
    batch: tuple[int, ...],
    heads: int,
    query_length: int,
    key_length: int,
    query_positions: Int[Array, "... T"] | None = None,
    key_positions: Int[Array, "... S"] | None = None,
  ) -> "Grid":
    """The grid of all pairs of a call; positions default to the index."""
    rank = len(batch) + 3
    # Rows are numbered over all batch axes, row-major, as in `Area.batch`.
    b = jnp.arange(math.prod(batch), dtype=jnp.int32)
    b = b.reshape(*batch, 1, 1, 1)
    h = jnp.arange(heads, dtype=jnp.int32)
    h = h.reshape((1,) * (rank - 3) + (-1, 1, 1))

    t = jnp.arange(query_length, dtype=jnp.int32)
    s = jnp.arange(key_length, dtype=jnp.int32)
    q = t if query_positions is None else query_positions.astype(jnp.int32)
    k = s if key_positions is None else key_positions.astype(jnp.int32)

    return cls(
      batch=b,
      head=h,
      query_position=row(q, rank, query=True),
      key_position=row(k, rank, query=False),
      query_index=row(t, rank, query=True),
      key_index=row(s, rank, query=False),
    )


def row(x: Int[Array, "... N"], rank: int, *, query: bool) -> Int[Array, "..."]:
  """Reshapes ``*#B T`` (or ``*#B S``) to broadcast to ``*B H T S``."""
  x = x.reshape((1,) * (rank - 2 - x.ndim) + x.shape)
  return x[..., None, :, None] if query else x[..., None, None, :]


def unfolded(
  position: Int[Array | np.ndarray, "..."] | int,
) -> Int[Array, "..."]:
  """The same positions behind an optimization barrier: not constant-folded.

  A user's function may gather by them. Where both tables and positions are
  constants, XLA on the CPU (jax 0.10.2) miscompiles the sum of products of the
  gathered rows, off by 20; see tests/ops/test_argument_shapes.py.

  >>> import jax.numpy as jnp
  >>> unfolded(jnp.arange(3)).tolist()
  [0, 1, 2]
  """
  return lax.optimization_barrier(jnp.asarray(position))


class Area(NamedTuple):
  """Bounds of a tile: (first, last) position and index of queries and keys.

  The bounds are ints, or int32 arrays that broadcast and describe many tiles at
  once; those of all tiles have axes ``R T S``, R ranges of batch rows. Where
  bounds and captured arrays are numpy, so is the answer, under `jit` too.
  Ranges are closed: one past the last position need not fit int32.
  """

  query: tuple
  key: tuple
  query_index: tuple
  key_index: tuple
  # Rows of the batch, row-major over all leading axes; None is every row.
  batch: tuple | None = None
  # Where the tiles are all the blocks of a call, in the order of its arrays:
  # how many rows, queries and keys a block has.
  blocks: tuple[int, int, int] | None = None
  # Of blocks: the positions of all queries and of all keys, ``#B N``; None
  # where they stand at 0, 1, 2...
  order: tuple = (None, None)
  # First and last query head of the tiles; None is not known.
  heads: tuple[int, int] | None = None
  all_heads: int = 1  # of the whole call
