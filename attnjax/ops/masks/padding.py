"""Masks of padding, evaluated by index: lengths of padded arrays."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from attnjax.ops.grid import Area
from attnjax.ops.integers import place
from attnjax.ops.masks.bounds import (
  batch_row,
  check_rows,
  integer_array,
  some_every_below,
)
from attnjax.ops.masks.protocol import Mask
from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.ops.value import format_call
from attnjax.typing import ArrayLike

__all__ = ["BlockPadding", "lengths"]


def lengths(
  query: ArrayLike | Sequence[int] | None = None,
  key: ArrayLike | Sequence[int] | None = None,
) -> Mask:
  """Hides padding at the end: a query, or a key, at or past its length.

  It compares the index in the array and not the position, because padding lives
  in arrays. A padded query sees nothing. Padding elsewhere, as on the left, is
  hidden by a boolean array, ``causal() & real[:, None, None, :]``.

  Args:
    query: int, or one a batch row (``*B``); None hides no query.
    key: the same for keys.

  >>> print(lengths(query=2, key=3).picture(3, 4))
  █ █ █ ·
  █ █ █ ·
  · · · ·
  """
  return _Lengths(
    None if query is None else integer_array("lengths", "query", query),
    None if key is None else integer_array("lengths", "key", key),
  )


@pytree_dataclass
class _Lengths(Mask):
  """The mask of `lengths`."""

  query: Any
  key: Any

  def __repr__(self):
    return format_call("lengths", query=self.query, key=self.key)

  def __call__(self, b, h, q, k):
    # Here q and k are indices: `visible` passes them instead of positions.
    seen = jnp.ones(jnp.broadcast_shapes(*map(jnp.shape, (b, q, k))), bool)
    q, k = place(q), place(k)
    if self.query is not None:
      seen = seen & (q < batch_row(self.query, b, 0))
    if self.key is not None:
      seen = seen & (k < batch_row(self.key, b, 0))
    return seen

  def visible(self, grid):
    return self(grid.batch, grid.head, grid.query_index, grid.key_index)

  def decide(self, area):
    some, every = True, True
    for limit, bounds in (
      (self.query, area.query_index),
      (self.key, area.key_index),
    ):
      if limit is not None:
        some_here, every_here = some_every_below(limit, bounds, area.batch)
        some, every = some & some_here, every & every_here

    return some, every

  def validate(self, batch, heads):
    for name in ("query", "key"):
      if getattr(self, name) is not None:
        check_rows(f"lengths of {name}", getattr(self, name), batch, 0)


@pytree_dataclass
class BlockPadding(Mask):
  """Mask of the padding past T and S, up to a multiple of the block size."""

  query: int = static()
  key: int = static()

  def __call__(self, b, h, q, k):
    """Pointwise; q and k are indices."""
    return (q < self.query) & (k < self.key)

  def visible(self, grid):
    """Evaluates the mask on a grid, by index."""
    return self(grid.batch, grid.head, grid.query_index, grid.key_index)

  def narrowed(self, area: Area) -> Area:
    """The area without its padding, of which no other mask need be asked."""
    query, query_index, query_order = _without(
      self.query, area.query, area.query_index, area.order[0], area.blocks, 1
    )
    key, key_index, key_order = _without(
      self.key, area.key, area.key_index, area.order[1], area.blocks, 2
    )
    return area._replace(
      query=query,
      key=key,
      query_index=query_index,
      key_index=key_index,
      order=(query_order, key_order),
    )

  def decide(self, area):
    """Decides (some, every), exactly."""
    (q0, q1), (k0, k1) = area.query_index, area.key_index
    # The corner of least indices is the last to be padding, the opposite one
    # the first.
    some = (q0 < self.query) & (k0 < self.key)
    return some, (q1 < self.query) & (k1 < self.key)


def _without(
  length: int, bounds: tuple, index: tuple, order, blocks, axis: int
):
  """Bounds, bounds of indices and order of one axis, without its padding."""
  if not all(isinstance(x, int | np.ndarray) for x in index):
    return bounds, index, order
  # Positions are indices where nothing else was said: they are one object.
  same = bounds is index
  index = index[0], np.minimum(index[1], length - 1)
  if isinstance(order, np.ndarray) and same:
    # Padding has the index `length`: the first of its block stands for it.
    cut = order.reshape(len(order), -1, blocks[axis])
    order = np.where(cut < length, cut, cut[..., :1]).reshape(order.shape)
  return index if same else bounds, index, order
