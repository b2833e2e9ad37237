"""Masks that are looked up by position: tables of pairs, and segment ids."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.moved import forward_names
from attnjax.ops.grid import Area, Grid
from attnjax.ops.integers import labels, place
from attnjax.ops.masks.algebra import Indexed
from attnjax.ops.masks.bounds import (
  SomeEvery,
  check_rows,
  query_key_sizes,
  some_every_of_table,
  span,
)
from attnjax.ops.masks.protocol import Mask
from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.ops.value import format_call
from attnjax.typing import Array, ArrayLike, Bool

__all__ = [
  "Table",
  "dense",
  "segments",
]


class Table(Mask):
  """Base of masks that are looked up by position in a captured array.

  A position outside of the array is an error unless another mask hides the
  pair. `covers` is True where all positions of the call are known to be inside;
  `extent` is (T, S) of the array; `by_index` ends the error message: what to
  use for an array that is aligned with the arrays of the call.
  """

  covers: bool
  by_index = "compose the array itself, which goes by index: causal() & array"

  def inside(self, grid: Grid) -> Bool[Array, "..."]:
    """Which pairs of a grid the table has an entry for, bool."""
    found: Any = np.ones((), bool)
    places = grid.query_position, grid.key_position
    for x, size in zip(places, self.extent, strict=True):
      if size is not None:
        found = found & (x >= 0) & (x < size)
    return found

  def between(self, grid: Grid) -> tuple:
    """Evaluates (may be, is surely) seen: outside is (True, False)."""
    seen = self.visible(grid)
    if self.covers:
      return seen, seen
    inside = self.inside(grid)
    return seen | (inside ^ True), seen & inside

  def aligned(self, length: int, keys: int) -> Mask:
    """The mask by index, of T queries and S keys at positions 0, 1, 2..."""
    del length, keys
    return self

  def undecided_outside(self, area: Area, some, every) -> SomeEvery:
    """Weakens (some, every) of tiles that reach outside of the table."""
    if self.covers:
      return some, every

    for (first, last), size in zip(
      (area.query, area.key), self.extent, strict=True
    ):
      if size is not None:
        inside = (first >= 0) & (last < size)
        some, every = some | (inside ^ True), every & inside

    return some, every


def dense(array: ArrayLike) -> Mask:
  """A table of visible pairs, looked up by position and not by index.

  table[q, k] says whether position q sees position k, wherever the two are in
  the arrays. An array that is aligned with the arrays of a call, such as one
  that marks padding, is no table: compose it as it is, ``causal() & array``.

  Args:
    array: bool, ``T S``, ``H T S`` or ``*B H T S``; axes of size 1 serve all.

  Raises:
    ValueError: if it is not boolean or has fewer than two axes; in `attend`,
      if it has no entry for a pair of positions which nothing else hides.
      Where that is known only at run time such rows are NaN.

  >>> import numpy as np
  >>> print(dense(np.eye(3, dtype=bool)).picture(3, 3))
  █ · ·
  · █ ·
  · · █
  """
  # numpy stays numpy: an engine may look at it while it traces.
  table = array if isinstance(array, jax.Array) else np.asarray(array)
  if table.dtype != bool or table.ndim < 2:
    raise ValueError(
      "dense: expected a boolean array 'T S', 'H T S' or '*B H T S', got"
      f" {table.dtype}{list(table.shape)}; logits to add are attend's bias="
    )
  return _Dense(table)


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


@pytree_dataclass
class _Dense(Table):
  """The mask of `dense`."""

  array: Any
  covers: bool = static(default=False)

  def __repr__(self):
    return format_call("dense", self.array)

  @property
  def extent(self):
    return query_key_sizes(self.array)

  def __call__(self, b, h, q, k):
    table = jnp.asarray(self.array)
    table = table.reshape((1,) * (3 - table.ndim) + table.shape)
    table = table.reshape((-1, *table.shape[-3:]))  # one batch axis
    q, k = place(q), place(k)
    if table.size == 0:
      shape = jnp.broadcast_shapes(*map(jnp.shape, (b, h, q, k)))
      return jnp.zeros(shape, bool)

    # An axis of size 1 serves all: its index is 0.
    b, h, q_, k_ = (
      jnp.zeros_like(x) if size == 1 else x
      for x, size in zip((b, h, q, k), table.shape, strict=True)
    )

    # Out of bounds a gather clamps; the entry that it finds does not count.
    inside = True
    for x, size in ((q, table.shape[2]), (k, table.shape[3])):
      if size != 1:
        inside = inside & (x >= 0) & (x < size)

    return table[b, h, q_, k_] & inside

  def aligned(self, length, keys):
    array = jnp.asarray(self.array)
    array = array.reshape((1,) * (4 - array.ndim) + array.shape)
    array = array.reshape((-1, *array.shape[-3:]))  # one batch axis
    return Indexed(array[:, :, :length, :keys])

  def decide(self, area):
    found = some_every_of_table(self.array, area.query, area.key, area.batch)
    return self.undecided_outside(area, *found)

  def validate(self, batch, heads):
    check_rows("the dense table", self.array, batch, min(3, self.array.ndim))
    if self.array.ndim > 2 and self.array.shape[-3] not in (1, heads):
      raise ValueError(
        f"mask: the dense table has {self.array.shape[-3]} heads, expected"
        f" 1 or {heads} (axes '*B H T S')"
      )


@pytree_dataclass
class _Segments(Table):
  """The mask of `segments`."""

  query_ids: Any
  key_ids: Any
  covers: bool = static(default=False)
  by_index = "give the ids as query_segment_ids= and key_segment_ids="

  def __repr__(self):
    # Printed as it was given: ids of the queries alone are one argument.
    keys = () if self.key_ids is self.query_ids else (self.key_ids,)
    return format_call("segments", self.query_ids, *keys)

  @property
  def extent(self):
    return np.shape(self.query_ids)[-1], np.shape(self.key_ids)[-1]

  def __call__(self, b, h, q, k):
    x, has_x = self._segment(self.query_ids, b, q)
    y, has_y = self._segment(self.key_ids, b, k)
    return (x == y) & has_x & has_y

  @staticmethod
  def _segment(ids, b, position):
    """Segment id of a position, and whether the position is in the array."""
    position = place(position)
    ids = jnp.asarray(ids).reshape((-1, np.shape(ids)[-1]))
    rows, size = ids.shape
    inside = (position >= 0) & (position < size)
    b = jnp.zeros_like(b) if rows == 1 else b
    if size == 0:
      return jnp.zeros_like(position), inside
    # Clipped: any id will do where `inside` is False.
    return ids[b, jnp.clip(position, 0, size - 1)], inside

  def aligned(self, length, keys):
    flat = lambda x, n: jnp.reshape(x, (-1, jnp.shape(x)[-1]))[:, :n]
    query, key = flat(self.query_ids, length), flat(self.key_ids, keys)
    return _SameSegment(
      Indexed(query[:, None, :, None]), Indexed(key[:, None, None, :])
    )

  def decide(self, area):
    # Ids need not be sorted, so the minimum and maximum id on either side
    # decide: disjoint ranges share no id, and two equal single ids are all.
    x = span(self.query_ids, area.query, area.batch)
    y = span(self.key_ids, area.key, area.batch)
    # A range without a position in its array has least > most.
    some = (x.least <= x.most) & (y.least <= y.most)
    some = some & (x.least <= y.most) & (y.least <= x.most)
    # So all four are equal, as least <= most.
    every = (x.least == y.most) & (x.most == y.least)
    return self.undecided_outside(area, some, every & x.inside & y.inside)

  def validate(self, batch, heads):
    check_rows("segments query_ids", self.query_ids, batch, 1)
    check_rows("segments key_ids", self.key_ids, batch, 1)


@pytree_dataclass
class _SameSegment(Mask):
  """Whether two arrays of ids by index, of queries and of keys, are equal."""

  query: Indexed
  key: Indexed

  def __repr__(self):
    return f"({self.query!r} == {self.key!r})"

  def __call__(self, b, h, q, k):
    return self.query(b, h, q, k)  # raises: it has no entries by position

  def visible(self, grid):
    return self.query.visible(grid) == self.key.visible(grid)


__getattr__ = forward_names(__name__)
