"""The mask protocol and its algebra: ``& | ~``, tiles and pictures."""

import dataclasses
import enum
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.grid import Area, Grid
from attnjax.ops.integers import LIMITS, known
from attnjax.ops.masks.bounds import (
  UNDECIDED,
  SomeEvery,
  decided,
  of_blocks,
  sides,
)
from attnjax.ops.pytree_dataclass import pytree_dataclass
from attnjax.ops.value import Value, written
from attnjax.typing import Array, Bool

__all__ = ["Indexed", "Mask", "Tile"]

_DRAWN = 16  # queries and keys of a mask that fits any call


class Tile(enum.Enum):
  """What a mask does to a tile of logits.

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
    """Pointwise and broadcasting: may q see k in batch row b and head h?

    Args:
      b: index of the batch row, row-major over all leading batch axes.
      h: index of the query head.
      q: query position.
      k: key position.
    """
    raise NotImplementedError

  def visible(self, grid: Grid) -> Bool[Array, "..."]:
    """Evaluates the mask on a grid, bool; by position unless overridden."""
    return self(grid.batch, grid.head, grid.query_position, grid.key_position)

  def between(self, grid: Grid) -> tuple:
    """Evaluates upper and lower bound on a grid: (may be, is surely) seen.

    They differ for pairs outside of a table, of which nothing is known.
    """
    seen = self.visible(grid)
    return seen, seen

  def decide(self, area: Area) -> SomeEvery:
    """Decides (some, every) of the pairs of a tile; see `SomeEvery`."""
    del area
    return UNDECIDED

  def validate(self, batch: tuple[int, ...], heads: int) -> None:
    """Raises ValueError if a captured array does not fit this call."""

  @property
  def is_static(self) -> bool:
    """Whether it captures no array, so that tracing decides its tiles."""
    return not jax.tree.leaves(self)

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
    from attnjax.ops.masks.arrays import on_one_axis  # which needs this module

    # As in `attend` there is one batch axis: a rule sees one rank everywhere.
    shape = (math.prod(batch), heads, query_length, key_length)
    grid = Grid.of(shape[:1], heads, query_length, key_length)
    mask = on_one_axis(self, batch, query_length, key_length)
    seen = jnp.broadcast_to(mask.visible(grid), shape)
    return seen.reshape((*batch, *shape[1:]))

  def picture(
    self, query_length: int, key_length: int, *, batch: int = 0, head: int = 0
  ) -> str:
    """The mask as text, a row a query: █ is seen, · is hidden."""
    from attnjax.ops.masks.picture import one_head  # which needs this module

    seen = one_head(self, query_length, key_length, batch, head)
    return "\n".join(" ".join("█" if x else "·" for x in r) for r in seen)

  @property
  def extent(self) -> tuple[int | None, int | None]:
    """T and S that the arrays of the mask fit; None fits any length."""
    return None, None

  def _repr_html_(self) -> str:
    """SVG for a notebook: the first row of the batch, and its first head."""
    from attnjax.ops.masks.picture import drawing, one_head  # needs this

    # A mask without arrays fits any length: 16 x 16 shows the rule.
    length, keys = (_DRAWN if n is None else n for n in self.extent)
    if max(length, keys) > 4 * _DRAWN:
      return drawing(repr(self), None, f"too large to draw: {length} x {keys}")

    try:
      return drawing(repr(self), one_head(self, length, keys))
    except (TypeError, ValueError, IndexError) as unfit:
      return drawing(repr(self), None, f"no picture: {unfit}"[:200])

  def __and__(self, other: Any) -> "Mask":
    return _And(self, _mask(other))

  def __or__(self, other: Any) -> "Mask":
    return _Or(self, _mask(other))

  # An array would otherwise try to compose itself with a mask, and fail oddly.
  __rand__ = __and__
  __ror__ = __or__
  __array_ufunc__ = None

  def __invert__(self) -> "Mask":
    return _Not(self)


# Ranges are closed inside an engine: one past the last position need not fit
# int32.
def _closed(name: str, start, stop) -> tuple[int, int]:
  """First and last position of a half-open range."""
  first, last = operator.index(start), operator.index(stop) - 1
  if first <= last and (first < LIMITS.min or last > LIMITS.max):
    raise ValueError(
      f"mask.tile: {name} must be within the positions of int32, from -2**31"
      f" up to 2**31, got {(start, stop)}"
    )
  return first, last


def _mask(x) -> Mask:
  """Operand of ``& |`` as a mask: a boolean array becomes an `Indexed`."""
  if isinstance(x, Mask):
    return x
  dtype = getattr(x, "dtype", None)
  if dtype == bool and np.ndim(x):
    return Indexed(x)

  if dtype is None:
    raise TypeError(
      "a mask composes with a mask or with a boolean array, not with"
      f" {type(x).__name__}; wrap a function as masks.from_fn(fn)"
    )

  raise TypeError(
    "a mask composes with a boolean array that broadcasts to '*B H T S', not"
    f" with {dtype}{list(np.shape(x))}; of 0 and 1 a token, as tokenizers give"
    " them, make array.astype(bool)[:, None, None, :]; logits to add are bias="
  )


@pytree_dataclass
class Indexed(Mask):
  """A boolean array, aligned with the queries and the keys of a call.

  `attend` makes it ``#B #H #T #S``, and each tile cuts its part. Composing a
  mask with an array makes one.
  """

  array: Any

  def __repr__(self):
    """Shows dtype and shape."""
    return written("", self.array)[1:-1]

  @property
  def extent(self):
    """T and S of the array; None where its axis has size 1."""
    return sides(self.array)

  def __call__(self, b, h, q, k):
    """Raises ValueError: an array is looked up by index, not by position."""
    raise ValueError(
      "mask: a boolean array is looked up by index in the arrays of a call, and"
      " cannot be asked by position; give the mask to attend, ask for"
      " mask.dense(T, S), or make it a table of positions: masks.dense(array)"
    )

  def visible(self, grid):
    """Returns the array, which the engine has cut as it cut the grid."""
    array = jnp.asarray(self.array)
    array = array.reshape((1,) * (grid.head.ndim - array.ndim) + array.shape)
    sizes = (grid.head, grid.query_index, grid.key_index)
    shape = jnp.broadcast_shapes(*map(jnp.shape, (grid.batch, *sizes)))

    for one, other in zip(reversed(array.shape), reversed(shape), strict=False):
      if one not in (1, other) or array.ndim != len(shape):
        raise ValueError(
          f"mask: a boolean array of shape {list(jnp.shape(self.array))} must"
          f" broadcast to '*B H T S' = {list(shape)}; put the batch axes first"
          " and give absent axes size 1"
        )
    return array

  def decide(self, area):
    """Decides (some, every) by block of the array, or by range of indices."""
    if area.blocks is None:
      return decided(self.array, area.query_index, area.key_index, area.batch)
    return of_blocks(self.array, area.blocks)


def _part(mask: Mask, kind: type) -> str:
  """repr of an operand, in parentheses where its class binds less."""
  return f"({mask!r})" if isinstance(mask, kind) else repr(mask)


def _both(x, y):
  """Computes x & y; stays numpy where one known side settles it.

  A mask that tracing knows to be empty everywhere makes the conjunction known,
  whatever a traced length says, and its tiles are skipped while tracing.
  """
  for one, other in ((x, y), (y, x)):
    if isinstance(one, (bool, np.bool_, np.ndarray)):
      if not np.any(one):
        return one
      if np.all(one):
        return other
  return x & y


def _either(x, y):
  """Computes x | y; stays numpy where one known side settles it."""
  # De Morgan, with `^ True` for not: `~` of a Python bool is an int.
  return _both(x ^ True, y ^ True) ^ True


@pytree_dataclass
class _Pair(Mask):
  """Two masks under an operator."""

  left: Mask
  right: Mask

  @property
  def extent(self):
    # The first that says a length; that both agree is checked against a call.
    pairs = zip(self.left.extent, self.right.extent, strict=True)
    return tuple(y if x is None else x for x, y in pairs)

  def validate(self, batch, heads):
    self.left.validate(batch, heads)
    self.right.validate(batch, heads)


@pytree_dataclass
class _And(_Pair):
  """Conjunction: every bound is the conjunction of the bounds."""

  def __repr__(self):
    return f"{_part(self.left, _Or)} & {_part(self.right, _Pair)}"

  def __call__(self, b, h, q, k):
    return self.left(b, h, q, k) & self.right(b, h, q, k)

  def visible(self, grid):
    return self.left.visible(grid) & self.right.visible(grid)

  def between(self, grid):
    pairs = zip(self.left.between(grid), self.right.between(grid), strict=True)
    return tuple(x & y for x, y in pairs)

  def decide(self, area):
    (some, every), (some_, every_) = (
      self.left.decide(area),
      self.right.decide(area),
    )
    return _both(some, some_), _both(every, every_)


@pytree_dataclass
class _Or(_Pair):
  """Disjunction."""

  def __repr__(self):
    return f"{_part(self.left, _And)} | {_part(self.right, _Pair)}"

  def __call__(self, b, h, q, k):
    return self.left(b, h, q, k) | self.right(b, h, q, k)

  def visible(self, grid):
    return self.left.visible(grid) | self.right.visible(grid)

  def between(self, grid):
    pairs = zip(self.left.between(grid), self.right.between(grid), strict=True)
    return tuple(x | y for x, y in pairs)

  def decide(self, area):
    (some, every), (some_, every_) = (
      self.left.decide(area),
      self.right.decide(area),
    )
    return _either(some, some_), _either(every, every_)


@pytree_dataclass
class _Not(Mask):
  """Complement: it swaps the two bounds."""

  mask: Mask

  def __repr__(self):
    return f"~{_part(self.mask, _Pair)}"

  @property
  def extent(self):
    return self.mask.extent

  def __call__(self, b, h, q, k):
    # `^ True`, not `~`: of Python ints the rule is a bool, and ~True is -2.
    return self.mask(b, h, q, k) ^ True

  def visible(self, grid):
    return self.mask.visible(grid) ^ True

  def between(self, grid):
    some, every = self.mask.between(grid)
    return every ^ True, some ^ True

  def decide(self, area):
    some, every = self.mask.decide(area)
    return every ^ True, some ^ True

  def validate(self, batch, heads):
    self.mask.validate(batch, heads)
