"""Masks that capture integers: a prefix, lengths of padded rows, segment ids.

The arrays are leaves of the pytree: they may be traced and vmapped. They have
the batch axes of the call in front, or none to serve every row.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from attnjax.ops.integers import labels, place
from attnjax.ops.masks.algebra import Mask
from attnjax.ops.masks.ranges import span
from attnjax.ops.masks.rows import below, check_rows, integers, of_row
from attnjax.ops.masks.table import Table
from attnjax.ops.node import node, static
from attnjax.ops.value import written
from attnjax.typing import ArrayLike

__all__ = ["Extent", "lengths", "prefix", "segments"]


def prefix(length: ArrayLike | Sequence[int]) -> Mask:
  """Every query sees the first positions: k < length.

  With `causal` it makes a prefix language model.

  Args:
    length: int, or one a batch row (``*B``).

  >>> from attnjax import masks
  >>> print((masks.causal() | masks.prefix(2)).picture(3, 3))
  █ █ ·
  █ █ ·
  █ █ █

  Reference:
    Raffel et al., "Exploring the Limits of Transfer Learning with a Unified
    Text-to-Text Transformer", 2019, arXiv 1910.10683, figure 4.
  """
  return _Prefix(integers("prefix", "length", length))


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
    None if query is None else integers("lengths", "query", query),
    None if key is None else integers("lengths", "key", key),
  )


def segments(
  query_ids: ArrayLike | Sequence[int],
  key_ids: ArrayLike | Sequence[int] | None = None,
) -> Mask:
  """Packed documents by position: a query sees keys of its own segment.

  ids[q] is the segment of position q, wherever it is in the arrays. Ids that
  are aligned with the arrays, as where positions restart in each document, are
  `attend`'s ``query_segment_ids`` and ``key_segment_ids``; an array that marks
  padding composes as it is, ``causal() & array``.

  Args:
    query_ids: int ``*B T`` (or ``T`` for all rows).
    key_ids: int ``*B S``; None when they are the queries' own.

  Raises:
    ValueError: if they are no integers; in `attend`, as `dense`.

  >>> print(segments([0, 0, 1, 1]).picture(4, 4))
  █ █ · ·
  █ █ · ·
  · · █ █
  · · █ █
  """
  names = "segments: query_ids", "segments: key_ids"
  ids = labels(names, query_ids, query_ids if key_ids is None else key_ids)
  for name, x in zip(names, ids, strict=True):
    if x.ndim < 1:
      raise ValueError(f"{name} must have at least 1 axes, got 0")
  return _Segments(ids[0], ids[0] if key_ids is None else ids[1])


@node
class _Prefix(Mask):
  length: Any

  def __repr__(self):
    return written("prefix", self.length)

  def __call__(self, b, h, q, k):
    q, k = place(q), place(k)
    seen = k < of_row(self.length, b, 0)
    return seen & jnp.ones(jnp.shape(q), bool)

  def decide(self, area):
    return below(self.length, area.key, area.batch)

  def validate(self, batch, heads):
    check_rows("prefix length", self.length, batch, 0)


@node
class _Lengths(Mask):
  query: Any
  key: Any

  def __repr__(self):
    return written("lengths", query=self.query, key=self.key)

  def __call__(self, b, h, q, k):
    seen = jnp.ones(jnp.broadcast_shapes(*map(jnp.shape, (b, q, k))), bool)
    q, k = place(q), place(k)
    if self.query is not None:
      seen = seen & (q < of_row(self.query, b, 0))
    if self.key is not None:
      seen = seen & (k < of_row(self.key, b, 0))
    return seen

  def visible(self, grid):
    return self(grid.batch, grid.head, grid.query_index, grid.key_index)

  def decide(self, area):
    verdict = (True, True)
    for limit, bounds in (
      (self.query, area.query_index),
      (self.key, area.key_index),
    ):
      if limit is not None:
        some, every = below(limit, bounds, area.batch)
        verdict = (verdict[0] & some, verdict[1] & every)
    return verdict

  def validate(self, batch, heads):
    for name in ("query", "key"):
      if getattr(self, name) is not None:
        check_rows(f"lengths of {name}", getattr(self, name), batch, 0)


@node
class Extent(Mask):
  """The true extent of a padded call, by index: an engine hides its padding."""

  query: int = static()
  key: int = static()

  def __call__(self, b, h, q, k):
    """Pointwise, of indices."""
    return (q < self.query) & (k < self.key)

  def visible(self, grid):
    """The rule on a tile."""
    return self(grid.batch, grid.head, grid.query_index, grid.key_index)

  def decide(self, area):
    """(some, every), exactly."""
    (q0, q1), (k0, k1) = area.query_index, area.key_index
    some = (q0 < self.query) & (k0 < self.key)
    return some, (q1 < self.query) & (k1 < self.key)


@node
class _Segments(Table):
  query_ids: Any
  key_ids: Any
  covers: bool = static(default=False)
  by_index = "give the ids as query_segment_ids= and key_segment_ids="

  def __repr__(self):
    keys = () if self.key_ids is self.query_ids else (self.key_ids,)
    return written("segments", self.query_ids, *keys)

  @property
  def extent(self):
    return np.shape(self.query_ids)[-1], np.shape(self.key_ids)[-1]

  def __call__(self, b, h, q, k):
    x, has_x = self._segment(self.query_ids, b, q)
    y, has_y = self._segment(self.key_ids, b, k)
    return (x == y) & has_x & has_y

  @staticmethod
  def _segment(ids, b, position):
    """The segment of a position, and whether there is such a position."""
    position = place(position)
    ids = jnp.asarray(ids).reshape((-1, np.shape(ids)[-1]))
    rows, size = ids.shape
    inside = (position >= 0) & (position < size)
    b = jnp.zeros_like(b) if rows == 1 else b
    if size == 0:
      return jnp.zeros_like(position), inside
    return ids[b, jnp.clip(position, 0, size - 1)], inside

  def decide(self, area):
    x = span(self.query_ids, area.query, area.batch)
    y = span(self.key_ids, area.key, area.batch)
    # A range without a position in its array has least > most.
    some = (x.least <= x.most) & (y.least <= y.most)
    some = some & (x.least <= y.most) & (y.least <= x.most)
    # So all four are equal, as least <= most.
    every = (x.least == y.most) & (x.most == y.least)
    return self.of_tile(area, some, every & x.inside & y.inside)

  def validate(self, batch, heads):
    check_rows("segments query_ids", self.query_ids, batch, 1)
    check_rows("segments key_ids", self.key_ids, batch, 1)
