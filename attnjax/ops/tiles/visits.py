"""The order in which a kernel visits tiles, and what it holds of sums.

The grid of a kernel is (mapped axes, batch rows, heads, n): n counts visits to
pairs of a block of queries and a block of keys, the same for all heads. A sum
is held in VMEM as long as visits add to it: of one whose visits do not follow
one another, all of a head is held, or of all heads of a key head.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from attnjax.ops.tiles.fold import EMPTY, FULL, MIXED, Subscripts, Sweep

__all__ = ["FIRST_PATTERN", "Held", "Visits", "held"]

# What the table of visits says of one whose codes are the first pattern.
FIRST_PATTERN = 3
_FEW = 2  # kinds of visits, each of which is a program of its own


class Visits(NamedTuple):
  """Visits to pairs of a block of queries and a block of keys.

  A block of a visit may have several tiles along either axis, which are brought
  at once. All is static, and part of a program.

  Args:
    pairs: block of queries and of keys, of each visit.
    macro: tiles of a block along the queries, and along the keys.
    place: which tiles of the sweep those of each visit are, a row of the batch
      each (or one for all); -1 for none.
    codes: of these, where they are known; else ().

  >>> import numpy as np
  >>> from attnjax.ops.tiles.fold import FULL, Blocks, Sweep
  >>> tiles = np.array([[0, 0, 0, 0], [0, 0, 1, 1]])
  >>> sweep = Sweep(tiles, np.full(2, FULL), Blocks(1, 1, 8, 8), (FULL,))
  >>> Visits.of(sweep).pairs, Visits.of(sweep, (2, 1)).place
  (((0, 0), (1, 1)), ((0, -1, -1, 1),))
  """

  pairs: tuple[tuple[int, int], ...]
  macro: tuple[int, int]
  place: tuple[tuple[int, ...], ...]
  codes: tuple[tuple[int, ...], ...]

  @classmethod
  def of(cls, sweep: Sweep, macro: tuple[int, int] = (1, 1)) -> "Visits":
    """The visits of a sweep, whose tiles are the same for all heads."""
    tiles = np.asarray(sweep.tiles)
    if not len(tiles):
      return cls((), macro, (), ())
    at = np.flatnonzero(tiles[:, 1] == 0)  # of the first head
    tiles = tiles[at]
    of_tiles = tiles[:, 2:] // np.array(macro)
    pairs = np.unique(of_tiles, axis=0)
    number = {tuple(pair): n for n, pair in enumerate(pairs.tolist())}
    visit = np.array([number[tuple(pair)] for pair in of_tiles.tolist()])
    within = tiles[:, 2:] % np.array(macro)

    rows = int(tiles[:, 0].max()) + 1
    of_visits = np.full((rows, len(pairs), *macro), -1)
    of_visits[tiles[:, 0], visit, within[:, 0], within[:, 1]] = at
    place = of_visits.reshape(rows, -1)

    codes = np.zeros((0, 0), int)
    if isinstance(sweep.codes, np.ndarray) and len(sweep.codes):
      codes = np.where(place < 0, EMPTY, sweep.codes[place])
      if (codes == codes[:1]).all():
        codes, place = codes[:1], place[:1]
    of = (pairs, place, codes)
    pairs_, place_, codes_ = (tuple(map(tuple, x.tolist())) for x in of)
    return cls(pairs_, macro, place_, codes_)

  @property
  def rows(self) -> int:
    """How many rows of the batch have tiles of their own."""
    return len(self.place)

  @property
  def patterns(self) -> tuple[tuple[int, ...], ...] | None:
    """The codes of the tiles of a visit, where few kinds of visits are known.

    Those all of whose tiles are full or empty are not among them. None where
    codes are not known, a visit has one tile, or there are many kinds.
    """
    each = self.macro[0] * self.macro[1]
    if not self.codes or each == 1:
      return None
    codes = np.unique(np.asarray(self.codes, int).reshape(-1, each), axis=0)
    some = codes[(codes != FULL).any(-1) & (codes != EMPTY).any(-1)]
    return tuple(map(tuple, some.tolist())) if len(some) <= _FEW else None

  def table(self, codes, numbers: np.ndarray, batch: int):
    """The codes of the tiles of each visit, a row of the batch each or one.

    Args:
      codes: of the tiles of the sweep, where they were not known.
      numbers: of visits, in their order; -1 is one to empty tiles.
      batch: rows of the batch.

    Returns:
      int32 ``rows visits (1 + tiles)``: before the codes of a visit, FULL where
      all of them are, MIXED else, or which of `patterns` they are.
    """
    each = self.macro[0] * self.macro[1]
    place = np.asarray(self.place, int).reshape(-1, len(self.pairs), each)
    place = np.where(numbers[:, None] < 0, -1, place[:, numbers])
    if self.codes:
      known = np.asarray(self.codes, np.int32)
      known = known.reshape(-1, len(self.pairs), each)[:, numbers]
      # A constant of the program, which has nothing to compute.
      tiles = np.where(place < 0, EMPTY, known)
      full = (tiles == FULL).all(-1, keepdims=True)
      first = np.where(full, FULL, MIXED)
      for n, pattern in enumerate(self.patterns or ()):
        met = (tiles == np.array(pattern)).all(-1, keepdims=True)
        first = np.where(met, FIRST_PATTERN + n, first)
      return jnp.asarray(np.concatenate([first, tiles], axis=-1), jnp.int32)

    given = jnp.asarray(codes, jnp.int32)[np.maximum(place, 0)]
    found = jnp.where(jnp.asarray(place < 0), EMPTY, given)
    more = batch - len(place) if len(place) > 1 else 0  # without tiles
    found = jnp.pad(found, ((0, more), (0, 0), (0, 0)))
    every = (found == FULL).all(-1, keepdims=True)
    whole = jnp.where(every, FULL, MIXED).astype(jnp.int32)
    return jnp.concatenate([whole, found], axis=-1)

  def ordered(
    self, major: str, sums: Sequence["Held"], counts: tuple[int, int]
  ) -> tuple[np.ndarray, np.ndarray]:
    """(pairs, numbers): the visits in order, those to write nothing included.

    Args:
      major: "t" or "s", which the order goes by first.
      sums: what is held of each sum.
      counts: blocks of queries and of keys.
    """
    pairs = np.array(self.pairs, np.int32).reshape(-1, 2)
    numbers = np.arange(len(pairs))

    # A block of a sum that no tile adds to is visited too, or it would not be
    # written.
    blocks = {"".join(x for x in h.cut if x in "ts") for h in sums}
    missing: set = set()
    for cut in blocks:
      sizes = [n if x in cut else 1 for x, n in zip("ts", counts, strict=True)]
      seen = {
        tuple(p if x in cut else 0 for x, p in zip("ts", pair, strict=True))
        for pair in [*self.pairs, *missing]
      }
      missing |= {
        (t, s)
        for t in range(sizes[0])
        for s in range(sizes[1])
        if (t, s) not in seen
      }
    if missing:
      pairs = np.concatenate([pairs, np.array(sorted(missing), np.int32)])
      numbers = np.concatenate([numbers, np.full(len(missing), -1)])
    keys = (pairs[:, 1], pairs[:, 0]) if major == "t" else (*pairs.T,)
    order = np.lexsort(keys)
    return pairs[order], numbers[order]


class Held(NamedTuple):
  """How much of a sum is held while visits add to it.

  Args:
    cut: letters of the axes that it is cut along; along others it is whole.
    over: letters of the grid's axes along which the same is held.
  """

  cut: str
  over: str


def held(
  axes: Subscripts, major: str, lead: Sequence[str], sizes: dict[str, int]
) -> Held:
  """What of a sum is held, the visits to it following one another.

  Args:
    axes: subscripts of the sum.
    major: "t" or "s".
    lead: letters of the grid's axes before n, outermost first.
    sizes: how many blocks there are along each letter.

  >>> sizes = {"b": 2, "k": 3, "g": 1, "t": 4, "s": 4}
  >>> held("bks.", "s", "bkg", sizes), held("bkgt.", "s", "bkg", sizes)
  (Held(cut='bks', over='t'), Held(cut='bkg', over='st'))
  """
  cut, order = "", [*lead, major, "s" if major == "t" else "t"]
  for place, letter in enumerate(order):
    if letter in axes:
      cut += letter
    elif sizes.get(letter, 1) != 1:
      return Held(cut, "".join(order[place:]))
  return Held(cut, "")
