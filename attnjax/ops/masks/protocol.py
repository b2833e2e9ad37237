"""The mask protocol: values by pair, bounds by tile, and pictures."""

import dataclasses
import enum
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp

from attnjax.ops.grid import Area, Grid
from attnjax.ops.integers import LIMITS, known
from attnjax.ops.masks.bounds import UNDECIDED, SomeEvery
from attnjax.ops.value import Value
from attnjax.typing import Array, Bool

__all__ = ["Mask", "Tile"]

_DRAWN = 16  # queries and keys drawn of a mask that fits any length


class Tile(enum.Enum):
  """How much of a tile of logits a mask shows: nothing, all or some.

  >>> from attnjax import masks
  >>> masks.causal().tile((0, 4), (4, 8))
  <Tile.EMPTY: 'empty'>
  """

  EMPTY = "empty"
  FULL = "full"
  MIXED = "mixed"


@dataclasses.dataclass(frozen=True, eq=False)
class Mask(Value):
  """A mask: may the query at position q see the key at position k?

  Compose with ``&`` (both), ``|`` (either) and ``~`` (not), also with boolean
  arrays: one that broadcasts to ``*B H T S`` is looked up by index, a row a
  query and a column a key of the call, as it is where it is the whole mask.

  >>> from attnjax import masks
  >>> band = masks.causal() & masks.sliding_window(left=1)
  >>> print(band.picture(4, 4))
  █ · · ·
  █ █ · ·
  · █ █ ·
  · · █ █
  """

  def __call__(self, b, h, q, k) -> Bool[Array, "..."]:
    """Evaluates the mask at positions, which broadcast: may q see k?

    Args:
      b: index of the batch row, row-major over all leading batch axes.
      h: index of the query head.
      q: query position.
      k: key position.
    """
    raise NotImplementedError

  def visible(self, grid: Grid) -> Bool[Array, "..."]:
    """The mask on a grid, bool; evaluated by position unless overridden."""
    return self(grid.batch, grid.head, grid.query_position, grid.key_position)

  def between(self, grid: Grid) -> tuple:
    """Upper and lower bound of the mask on a grid, two arrays of bool.

    They differ for pairs outside of a table: of those the upper bound is True
    and the lower bound is False.
    """
    seen = self.visible(grid)
    return seen, seen

  def decide(self, area: Area) -> SomeEvery:
    """Whether (some, every) pair of a tile is visible; see `SomeEvery`."""
    del area
    return UNDECIDED

  def validate(self, batch: tuple[int, ...], heads: int) -> None:
    """Raises ValueError if a captured array does not fit this call."""

  @property
  def is_static(self) -> bool:
    """Whether it captures no array, so that tracing decides its tiles."""
    return not jax.tree.leaves(self)

  @property
  def differs_by_head(self) -> bool:
    """Whether `decide` may say another thing of other heads."""
    return False

  @property
  def tiles_at_run_time(self) -> bool:
    """Whether `decide` says anything where arrays or positions are traced."""
    return True

  def tile(
    self, query_range: tuple[int, int], key_range: tuple[int, int]
  ) -> Tile:
    """Classifies a tile as empty, full or mixed; undecided ones are mixed.

    Args:
      query_range: half-open range of query positions (and indices).
      key_range: half-open range of key positions (and indices).

    Returns:
      EMPTY only if no query of the range sees any key of the range, FULL only
      if every query sees every key.

    Raises:
      ValueError: if a range leaves the positions there are, those of int32.
    """
    if not all(map(known, (*query_range, *key_range))):
      return Tile.MIXED

    query = _closed("query_range", *query_range)
    key = _closed("key_range", *key_range)
    if any(first > last for first, last in (query, key)):
      return Tile.EMPTY

    # As positions and as indices: the ranges stand for both.
    area = Area(query, key, query, key)
    some, every = self.decide(area)

    if not (known(some) and known(every)):
      return Tile.MIXED
    if not bool(some):
      return Tile.EMPTY
    return Tile.FULL if bool(every) else Tile.MIXED

  def dense(
    self,
    query_length: int,
    key_length: int,
    *,
    batch: tuple[int, ...] = (),
    heads: int = 1,
  ) -> Bool[Array, "..."]:
    """The mask as an array ``*B H T S``, positions counted from 0."""
    self.validate(batch, heads)
    from attnjax.ops.masks.arrays import on_one_axis  # imports this module

    # One batch axis, as in `attend`: a function given to `from_fn` then sees
    # arrays of one rank wherever it is called.
    shape = (math.prod(batch), heads, query_length, key_length)
    grid = Grid.of(shape[:1], heads, query_length, key_length)
    mask = on_one_axis(self, batch, query_length, key_length)
    seen = jnp.broadcast_to(mask.visible(grid), shape)
    return seen.reshape((*batch, *shape[1:]))

  def picture(
    self, query_length: int, key_length: int, *, batch: int = 0, head: int = 0
  ) -> str:
    """The mask as text, a row a query: █ is seen, · is hidden."""
    from attnjax.ops.masks.picture import one_head  # imports this

    seen = one_head(self, query_length, key_length, batch, head)
    return "\n".join(" ".join("█" if x else "·" for x in r) for r in seen)

  @property
  def extent(self) -> tuple[int | None, int | None]:
    """T and S that the arrays of the mask fit; None fits any length."""
    return None, None

  def _repr_html_(self) -> str:
    """SVG for a notebook: the first row of the batch, and its first head."""
    from attnjax.ops.masks.picture import drawing, one_head  # imports this

    # A mask without arrays fits any length: 16 x 16 shows the rule.
    length, keys = (_DRAWN if n is None else n for n in self.extent)
    # 64 squares of 10 pixels a side.
    if max(length, keys) > 4 * _DRAWN:
      return drawing(repr(self), None, f"too large to draw: {length} x {keys}")

    try:
      return drawing(repr(self), one_head(self, length, keys))
    except (TypeError, ValueError, IndexError) as unfit:
      return drawing(repr(self), None, f"no picture: {unfit}"[:200])

  # `algebra` defines subclasses of this class, so it is imported on use.
  def __and__(self, other: Any) -> "Mask":
    from attnjax.ops.masks.algebra import conjunction

    return conjunction(self, other)

  def __or__(self, other: Any) -> "Mask":
    from attnjax.ops.masks.algebra import disjunction

    return disjunction(self, other)

  # Without the last line numpy would apply its own operator elementwise, to
  # an object array of masks, before it asks the mask.
  __rand__ = __and__
  __ror__ = __or__
  __array_ufunc__ = None

  def __invert__(self) -> "Mask":
    from attnjax.ops.masks.algebra import complement

    return complement(self)


def _closed(name: str, start, stop) -> tuple[int, int]:
  """First and last position of a half-open range."""
  # Closed, because one past the last position need not fit int32.
  first, last = operator.index(start), operator.index(stop) - 1
  if first <= last and (first < LIMITS.min or last > LIMITS.max):
    raise ValueError(
      f"mask.tile: {name} must be within the positions of int32, from -2**31"
      f" up to 2**31, got {(start, stop)}"
    )
  return first, last
