"""Key-value cache: a value. ``append(cache, key, value) -> cache``.

A cache is a frozen pytree of what attention has read so far. Rows of a batch
may have read different lengths. Slot i holds the newest position p with
p % capacity == i, so that one formula serves a cache that fills up (`append`)
and one that rolls over its oldest entries (`roll`).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops import masks
from attnjax.ops.cache_check import check_tokens, checked_lengths
from attnjax.ops.integers import known
from attnjax.typing import Array, Bool, DTypeLike, Float, Int

__all__ = ["KeyValueCache", "append", "init", "roll"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class KeyValueCache:
  """Keys and values read so far, and how many of each row.

  Args:
    key: ``*B C K D``.
    value: ``*B C K E``.
    length: int ``*B``, tokens read, beyond the capacity if it has rolled.

  >>> from attnjax import cache
  >>> state = cache.init((2,), capacity=8, heads=1, width=4)
  >>> new = jnp.ones((2, 3, 1, 4))
  >>> state = cache.append(state, new, new)
  >>> state.length.tolist()
  [3, 3]
  """

  key: Float[Array, "*B C K D"]
  value: Float[Array, "*B C K E"]
  length: Int[Array, "*B"]

  @property
  def capacity(self) -> int:
    """Slots a row has."""
    return self.key.shape[-3]

  @property
  def positions(self) -> Int[Array, "*B C"]:
    """The position each slot holds; negative where it holds none."""
    last = self.length[..., None] - 1
    slot = jnp.arange(self.capacity, dtype=jnp.int32)
    slot = slot.reshape((1,) * self.length.ndim + (-1,))
    return last - (last - slot) % self.capacity

  @property
  def filled(self) -> masks.Mask:
    """The mask that hides slots which hold nothing yet."""
    return masks.lengths(key=jnp.minimum(self.length, self.capacity))

  def next_positions(self, count: int) -> Int[Array, "*B T"]:
    """Positions of the next tokens, those that `append` would store."""
    step = jnp.arange(count, dtype=jnp.int32)
    return self.length[..., None] + step.reshape(
      (1,) * self.length.ndim + (-1,)
    )


def init(
  batch: tuple[int, ...],
  capacity: int,
  heads: int,
  width: int,
  *,
  value_width: int | None = None,
  dtype: DTypeLike = jnp.float32,
) -> KeyValueCache:
  """An empty cache.

  Args:
    batch: sizes of the batch axes ``*B``.
    capacity: C, positions a row holds, >= 1.
    heads: K, key/value heads.
    width: D, of a key.
    value_width: E; None is D.
    dtype: of keys and values.

  Raises:
    ValueError: if the capacity is below 1.

  >>> init((), capacity=2, heads=1, width=4).positions.tolist()
  [-2, -1]
  """
  if capacity < 1:
    raise ValueError(f"cache: capacity must be at least 1, got {capacity}")
  value_width = width if value_width is None else value_width
  return KeyValueCache(
    key=jnp.zeros((*batch, capacity, heads, width), dtype),
    value=jnp.zeros((*batch, capacity, heads, value_width), dtype),
    length=jnp.zeros(batch, jnp.int32),
  )


def append(
  cache: KeyValueCache,
  key: Float[Array, "*B T K D"],
  value: Float[Array, "*B T K E"],
  *,
  lengths: Int[Array, "*B"] | None = None,
) -> KeyValueCache:
  """Stores the next keys and values of each row; an overflow is an error.

  Args:
    cache: what was read so far.
    key: ``*B T K D``.
    value: ``*B T K E``.
    lengths: int ``*B``, how many of the T are real in each row, the rest being
      padding at the end; None is all.

  Returns:
    The new cache. Where a length is known only at run time and a row does not
    fit, it stores NaN from then on: a poisoned output cannot be taken for a
    result.

  Raises:
    ValueError: if the arrays do not fit the cache, or a row overflows or has
      a length beyond T, and its length is known now.

  >>> state = init((), capacity=2, heads=1, width=1)
  >>> state = append(state, jnp.ones((2, 1, 1)), jnp.ones((2, 1, 1)))
  >>> append(state, jnp.ones((1, 1, 1)), jnp.ones((1, 1, 1)))
  Traceback (most recent call last):
    ...
  ValueError: cache: 3 positions do not fit the capacity of 2; ...
  """
  return _store(cache, key, value, lengths, refuse=True)


def overflows(
  cache: KeyValueCache, count: int | Int[Array, "*B"]
) -> Bool[Array, "*B"]:
  """Which rows cannot take so many tokens more; raises where that is known.

  >>> overflows(init((), capacity=2, heads=1, width=1), 2).item()
  False
  """
  length = cache.length + count
  over = length > cache.capacity
  if known(over) and over.any():
    raise ValueError(
      f"cache: {int(length.max())} positions do not fit the capacity of"
      f" {cache.capacity}; init a larger one, or roll() to forget the oldest"
    )
  return over


def roll(
  cache: KeyValueCache,
  key: Float[Array, "*B T K D"],
  value: Float[Array, "*B T K E"],
  *,
  lengths: Int[Array, "*B"] | None = None,
) -> KeyValueCache:
  """Stores the next keys and values, forgetting the oldest: a rolling window.

  To attend T new tokens with ``sliding_window(left)`` exactly as without a
  cache, give it a capacity of at least left + T.

  Args:
    cache: what was read so far.
    key: ``*B T K D``; T may exceed the capacity.
    value: ``*B T K E``.
    lengths: int ``*B``, how many of the T are real; None is all.

  Returns:
    The cache of the newest positions.

  >>> state = init((), capacity=2, heads=1, width=1)
  >>> state = roll(state, jnp.ones((3, 1, 1)), jnp.ones((3, 1, 1)))
  >>> state.positions.tolist()
  [2, 1]
  """
  return _store(cache, key, value, lengths, refuse=False)


def _store(cache, key, value, lengths, *, refuse: bool) -> KeyValueCache:
  """Scatters each new token to slot position % capacity, the newest winning."""
  check_tokens(cache, key, value)
  capacity, count = cache.capacity, key.shape[-3]
  taken, poisoned = _taken(lengths, cache.length.shape, count)
  if refuse:
    poisoned = poisoned | overflows(cache, taken)
  length = cache.length + taken
  position = cache.next_positions(count)
  kept = (position < length[..., None]) & (
    position >= length[..., None] - capacity
  )
  # Dropped tokens go past the end; the kept ones are at most `capacity`
  # consecutive positions, so no slot is written twice.
  slot = jnp.where(kept, position % capacity, capacity)
  return KeyValueCache(
    key=_scatter(cache.key, slot, _poisoned(key, poisoned)),
    value=_scatter(cache.value, slot, _poisoned(value, poisoned)),
    length=length,
  )


def _taken(lengths, batch: tuple[int, ...], count: int):
  """How many tokens each row takes, and which rows take them as NaN."""
  if lengths is None:
    return jnp.full(batch, count, jnp.int32), np.zeros(batch, bool)
  lengths = jnp.asarray(checked_lengths(lengths, batch, count))
  wrong = (lengths < 0) | (lengths > count)
  return jnp.where(wrong, count, lengths), wrong


def _poisoned(x, rows):
  """NaN for some rows: an error that can only be known at run time."""
  if known(rows) and not rows.any():
    return x
  return jnp.where(rows[..., None, None, None], jnp.nan, x).astype(x.dtype)


def _scatter(held, slot, new):
  """held[b, slot[b, t]] = new[b, t] for every batch row b."""
  put = lambda h, s, n: h.at[s].set(n, mode="drop")
  for _ in range(slot.ndim - 1):
    put = jax.vmap(put)
  return put(held, slot, new.astype(held.dtype))
