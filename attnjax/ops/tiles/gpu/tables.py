"""Which tiles each program of a GPU's kernel visits, as tables of numbers."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from attnjax.ops.tiles.fold import EMPTY, FULL, MIXED
from attnjax.ops.tiles.visits import Visits

__all__ = ["Tables", "tables_of"]


class Tables(NamedTuple):
  """The tiles of each block, the full ones and the mixed ones.

  Args:
    bounds: int32 ``rows blocks 4``, flat: where the full tiles of a block begin
      and end, and the mixed ones.
    order: int32, the blocks of the other axis that bounds are places of; of a
      kernel whose programs own one tile each its codes ``rows T S``; where each
      bound is a block by itself, one number that nobody reads.
    listed: whether order is needed.
    rows: whether each row of the batch has its own.
  """

  bounds: Any
  order: Any
  listed: bool
  rows: bool


def tables_of(
  visits: Visits, codes, inner: str, counts: dict[str, int]
) -> Tables:
  """The tables for programs that own a block of "t", of "s", or of both.

  Args:
    visits: of one tile each.
    codes: of the tiles of the sweep, where the visits do not know them.
    inner: what a program owns.
    counts: how many blocks there are along each letter.

  Causal, of 3 x 3 tiles: no list, for each loop is over a range.

  >>> import numpy as np
  >>> from attnjax.ops.tiles.fold import FULL, MIXED, Blocks, Sweep
  >>> from attnjax.ops.tiles.visits import Visits
  >>> tiles = np.array([[0, 0, t, s] for t in range(3) for s in range(t + 1)])
  >>> kinds = np.array([MIXED, FULL, MIXED, FULL, FULL, MIXED])
  >>> sweep = Sweep(tiles, kinds, Blocks(1, 1, 16, 16), (MIXED, FULL))
  >>> found = tables_of(Visits.of(sweep), None, "t", {"b": 1, "t": 3, "s": 3})
  >>> np.asarray(found.bounds).reshape(3, 4).tolist(), found.listed
  ([[0, 0, 0, 1], [0, 1, 1, 2], [0, 2, 2, 3]], False)
  """
  if visits.macro != (1, 1):
    raise ValueError(f"visits must be to one tile each, got {visits.macro}")
  dense, known = _dense(visits, codes, counts)
  rows = len(dense) > 1
  if inner == "s":
    dense = dense.swapaxes(1, 2)
  if len(inner) == 2:
    none = np.zeros((1,), np.int32)
    return Tables(jnp.asarray(none), _flat(dense), True, rows)

  if known:
    bounds = _ranges(dense)
    if bounds is not None:
      return Tables(_flat(bounds), jnp.zeros((1,), jnp.int32), False, rows)
  # Full tiles first, then mixed ones, each in order.
  xp: Any = np if known else jnp
  rank = xp.where(dense == FULL, 0, xp.where(dense == MIXED, 1, 2))
  order = xp.argsort(rank, axis=-1, **({"kind": "stable"} if known else {}))
  full, live = (dense == FULL).sum(-1), (dense != EMPTY).sum(-1)
  first = xp.arange(dense[..., 0].size).reshape(dense.shape[:-1])
  first = first * dense.shape[-1]
  ends = [first, first + full, first + full, first + live]
  return Tables(_flat(xp.stack(ends, -1)), _flat(order), True, rows)


def _flat(x):
  """As a kernel is given it."""
  return jnp.asarray(x, jnp.int32).reshape(-1)


def _dense(visits: Visits, codes, counts) -> tuple[Any, bool]:
  """The code of each tile, ``rows T S``, and whether it is known."""
  pairs = np.array(visits.pairs, int).reshape(-1, 2)
  shape = len(visits.place), counts["t"], counts["s"]
  if visits.codes:
    dense = np.full(shape, EMPTY, np.int32)
    dense[:, pairs[:, 0], pairs[:, 1]] = np.array(visits.codes)[..., :]
    return dense, True

  place = np.full(shape, -1)
  place[:, pairs[:, 0], pairs[:, 1]] = np.array(visits.place)
  given = jnp.asarray(codes, jnp.int32)[np.maximum(place, 0)]
  traced = jnp.where(jnp.asarray(place < 0), EMPTY, given)
  more = counts["b"] - len(place) if len(place) > 1 else 0  # without tiles
  return jnp.pad(traced, ((0, more), (0, 0), (0, 0))), False


def _ranges(dense: np.ndarray) -> np.ndarray | None:
  """Bounds of the full and of the mixed tiles, if all of these are ranges."""
  bounds = np.zeros((*dense.shape[:-1], 4), np.int32)
  for place, kind in ((0, FULL), (2, MIXED)):
    is_kind = dense == kind
    count, first = is_kind.sum(-1), is_kind.argmax(-1)
    last = dense.shape[-1] - is_kind[..., ::-1].argmax(-1)
    if ((count > 0) & (last - first != count)).any():
      return None
    bounds[..., place] = np.where(count, first, 0)
    bounds[..., place + 1] = np.where(count, last, 0)
  return bounds
