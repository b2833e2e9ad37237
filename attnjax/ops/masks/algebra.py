"""The algebra of masks: ``& | ~``, and boolean arrays as operands."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from attnjax.ops.masks.bounds import (
  query_key_sizes,
  some_every_of_blocks,
  some_every_of_table,
)
from attnjax.ops.masks.functions import decide_together
from attnjax.ops.masks.padding import BlockPadding
from attnjax.ops.masks.protocol import Mask, Tile
from attnjax.ops.pytree_dataclass import pytree_dataclass
from attnjax.ops.value import format_call

# `Mask` and `Tile` were defined here, and are importable from here still.
__all__ = [
  "Indexed",
  "Mask",
  "Tile",
  "complement",
  "conjunction",
  "disjunction",
  "static_part",
]


def conjunction(mask: Mask, other: Any) -> Mask:
  """Makes ``mask & other``, where other is a mask or a boolean array."""
  return _And(mask, _as_mask(other))


def disjunction(mask: Mask, other: Any) -> Mask:
  """Makes ``mask | other``, where other is a mask or a boolean array."""
  return _Or(mask, _as_mask(other))


def complement(mask: Mask) -> Mask:
  """Makes ``~mask``."""
  return _Not(mask)


def _as_mask(x) -> Mask:
  """Converts an operand of ``& |``: a boolean array becomes an `Indexed`."""
  if isinstance(x, Mask):
    return x
  dtype = getattr(x, "dtype", None)
  # A scalar has no axis of queries or of keys.
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
    return format_call("", self.array)[1:-1]

  @property
  def extent(self):
    """T and S of the array; None where its axis has size 1."""
    return query_key_sizes(self.array)

  def __call__(self, b, h, q, k):
    """Raises ValueError: the array has no entries by position."""
    raise ValueError(
      "mask: a boolean array is looked up by index in the arrays of a call, and"
      " cannot be asked by position; give the mask to attend, ask for"
      " mask.dense(T, S), or make it a table of positions: masks.dense(array)"
    )

  def visible(self, grid):
    """Returns the array, which the engine has cut as it cut the grid."""
    # Rank promotion is strict, so absent leading axes become axes of size 1.
    array = jnp.asarray(self.array)
    array = array.reshape((1,) * (grid.head.ndim - array.ndim) + array.shape)
    sizes = (grid.head, grid.query_index, grid.key_index)
    shape = jnp.broadcast_shapes(*map(jnp.shape, (grid.batch, *sizes)))

    for size, other in zip(
      reversed(array.shape), reversed(shape), strict=False
    ):
      if size not in (1, other) or array.ndim != len(shape):
        raise ValueError(
          f"mask: a boolean array of shape {list(jnp.shape(self.array))} must"
          f" broadcast to '*B H T S' = {list(shape)}; put the batch axes first"
          " and give absent axes size 1"
        )
    return array

  def decide(self, area):
    """Decides (some, every) by block of the array, or by range of indices."""
    if area.blocks is None:
      return some_every_of_table(
        self.array, area.query_index, area.key_index, area.batch
      )
    return some_every_of_blocks(self.array, area.blocks)


def _part(mask: Mask, kind: type) -> str:
  """repr of an operand, in parentheses where it is of this class."""
  return f"({mask!r})" if isinstance(mask, kind) else repr(mask)


def _both(x, y):
  """Computes x & y; stays numpy where one known operand decides it.

  A mask that tracing knows to be empty everywhere makes the conjunction known,
  whatever a traced length says, and its tiles are skipped while tracing.
  """
  for first, second in ((x, y), (y, x)):
    if isinstance(first, (bool, np.bool_, np.ndarray)):
      if not np.any(first):
        return first
      if np.all(first):
        return second

  return x & y


def _either(x, y):
  """Computes x | y; stays numpy where one known operand decides it."""
  # De Morgan, with `^ True` for not: `~` of a Python bool is an int.
  return _both(x ^ True, y ^ True) ^ True


@pytree_dataclass
class _Pair(Mask):
  """Base of the two binary operators."""

  left: Mask
  right: Mask

  @property
  def extent(self):
    # The first that says a length; that both agree is checked against a call.
    pairs = zip(self.left.extent, self.right.extent, strict=True)
    return tuple(y if x is None else x for x, y in pairs)

  @property
  def differs_by_head(self):
    return self.left.differs_by_head or self.right.differs_by_head

  @property
  def tiles_at_run_time(self):
    parts = [x for x in (self.left, self.right) if not x.is_static]
    return any(x.tiles_at_run_time for x in parts)

  def validate(self, batch, heads):
    self.left.validate(batch, heads)
    self.right.validate(batch, heads)


@pytree_dataclass
class _And(_Pair):
  """Conjunction: each bound is the conjunction of the operands' bounds."""

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
    whole = decide_together(self, area)
    if whole is not None:
      return whole

    inside = area
    for part in (self.left, self.right):
      if isinstance(part, BlockPadding):
        inside = part.narrowed(area)
    pairs = zip(
      *(
        part.decide(area if isinstance(part, BlockPadding) else inside)
        for part in (self.left, self.right)
      ),
      strict=True,
    )
    return tuple(_both(x, y) for x, y in pairs)


@pytree_dataclass
class _Or(_Pair):
  """Disjunction: each bound is the disjunction of the operands' bounds."""

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
    whole = decide_together(self, area)
    if whole is not None:
      return whole
    pairs = zip(self.left.decide(area), self.right.decide(area), strict=True)
    return tuple(_either(x, y) for x, y in pairs)


@pytree_dataclass
class _Not(Mask):
  """Complement: the upper bound becomes the lower one, and vice versa."""

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

  @property
  def differs_by_head(self):
    return self.mask.differs_by_head

  @property
  def tiles_at_run_time(self):
    return self.mask.tiles_at_run_time

  def validate(self, batch, heads):
    self.mask.validate(batch, heads)


def static_part(mask: Mask | None) -> Mask | None:
  """The part of a conjunction that holds no array, or None if there is none.

  It hides nothing that the mask does not hide, and is decided while tracing.

  >>> import numpy as np
  >>> from attnjax import masks
  >>> static_part(masks.causal() & masks.segments(np.array([0, 0, 1])))
  causal()
  """
  if mask is None or mask.is_static:
    return mask
  if not isinstance(mask, _And):
    return None

  left, right = static_part(mask.left), static_part(mask.right)
  if left is None or right is None:
    return right if left is None else left
  return left & right
