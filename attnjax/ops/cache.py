"""Key-value cache for decoding: ``append(cache, key, value) -> cache``.

A cache is a frozen pytree with the keys and values of the tokens read so far,
whose number may differ between batch rows. Slot i holds the newest position p
with p % capacity == i: one formula for a cache that fills up (`append`) and for
one that overwrites its oldest entries (`roll`). What `roll` has overwritten
`rewind` does not bring back.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops import masks
from attnjax.ops.explicit_axes import by_device
from attnjax.ops.integers import checked_lengths, int32
from attnjax.ops.value_checks import poison, refuse
from attnjax.typing import Array, Bool, DTypeLike, Float, Int

__all__ = [
  "KeyValueCache",
  "append",
  "init",
  "rewind",
  "roll",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class KeyValueCache:
  """Keys and values of the tokens read so far, and their number a row.

  Args:
    key: ``*B C K D``.
    value: ``*B C K E``.
    length: int ``*B``, tokens read, beyond the capacity if it has rolled.
    forgotten: int ``*B``, how many of them, the oldest, were rolled over.

  >>> import jax.numpy as jnp
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
  forgotten: Int[Array, "*B"]

  @property
  def capacity(self) -> int:
    """Slots a row has."""
    return self.key.shape[-3]

  @property
  def positions(self) -> Int[Array, "*B C"]:
    """The position each slot holds; negative where it holds none."""
    last = self.length[..., None] - 1
    # Rank promotion is strict: the slots get the batch axes as size 1.
    slot = jnp.arange(self.capacity, dtype=jnp.int32)
    slot = slot.reshape((1,) * self.length.ndim + (-1,))

    # The greatest p <= last with p % capacity == slot.
    newest = last - (last - slot) % self.capacity
    # A cache that rolled and was wound back has slots of neither.
    gone = (newest >= 0) & (newest < self.forgotten[..., None])
    return jnp.where(gone, -1, newest)

  @property
  def filled(self) -> masks.Mask:
    """The mask that hides slots which hold nothing; give it `positions`."""
    # Filled slots come first, by index; one emptied by `rewind` is at -1.
    held = masks.lengths(key=jnp.minimum(self.length, self.capacity))
    return held & ~masks.prefix(0)

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
    forgotten=jnp.zeros(batch, jnp.int32),
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

  >>> import jax.numpy as jnp
  >>> state = init((), capacity=2, heads=1, width=1)
  >>> state = append(state, jnp.ones((2, 1, 1)), jnp.ones((2, 1, 1)))
  >>> append(state, jnp.ones((1, 1, 1)), jnp.ones((1, 1, 1)))
  Traceback (most recent call last):
    ...
  ValueError: cache: 3 positions do not fit the capacity of 2; ...
  """
  return _store(cache, key, value, lengths, refuse_overflow=True)


def overflows(
  cache: KeyValueCache,
  count: int | Int[Array | np.ndarray, "*B"],
  capacity: int | None = None,
) -> Bool[Array, "*B"] | None:
  """Marks rows that `count` more tokens overflow; raises where it is known.

  Args:
    cache: what was read so far.
    count: of new tokens, one number or one a row.
    capacity: tokens that a row may have; None is that of the cache.

  >>> overflows(init((), capacity=2, heads=1, width=1), 2) is None
  True
  """
  most = cache.capacity if capacity is None else capacity
  return refuse(
    lambda length, count: length + count > most,
    lambda length, count: ValueError(
      f"cache: {(length + count).max()} positions do not fit the capacity of"
      f" {most}; init a larger one, or roll() to forget the oldest"
    ),
    cache.length,
    np.int32(count) if isinstance(count, int) else count,
  )


def rewind(
  cache: KeyValueCache, length: int | Int[Array | np.ndarray, "*B"]
) -> KeyValueCache:
  """Removes the newest tokens of each row, as if they had not been read.

  Speculative decoding calls it to drop rejected drafts. Tokens that `roll` has
  overwritten with the drafts are lost: `decode_attention` refuses a mask that
  looks there. With a capacity that has room for the drafts none are.

  Args:
    cache: what was read so far.
    length: int, or int ``*B``: tokens to keep of each row, at most what it has.

  Returns:
    The shorter cache. Where lengths are known only at run time, a row that is
    not that long holds NaN.

  Raises:
    ValueError: if a length that is known is negative or more than was read.

  >>> import jax.numpy as jnp
  >>> key = jnp.arange(3.0)[:, None, None]
  >>> state = append(init((), capacity=4, heads=1, width=1), key, key)
  >>> again = append(rewind(state, 1), key[1:], key[1:])
  >>> bool((again.key == state.key).all())
  True

  Reference:
    Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative
    Decoding", 2022, arXiv 2211.17192, algorithm 1.
  """
  kept, wrong = _check_rewind(length, cache.length)
  key, value = poison((cache.key, cache.value), wrong)
  return KeyValueCache(
    key=key,
    value=value,
    length=kept,
    # A row cannot have forgotten more tokens than it has now.
    forgotten=jnp.minimum(cache.forgotten, kept),
  )


def roll(
  cache: KeyValueCache,
  key: Float[Array, "*B T K D"],
  value: Float[Array, "*B T K E"],
  *,
  lengths: Int[Array, "*B"] | None = None,
) -> KeyValueCache:
  """Stores the next keys and values over the oldest: a rolling window.

  A capacity of C keeps the newest C tokens. `decode_attention` lets each query
  see the C up to its own, however many come at once. Whoever stores first and
  attends then needs left + T <= C for T tokens and ``sliding_window(left)``.

  Args:
    cache: what was read so far.
    key: ``*B T K D``; T may exceed the capacity.
    value: ``*B T K E``.
    lengths: int ``*B``, how many of the T are real; None is all.

  Returns:
    The cache of the newest positions.

  >>> import jax.numpy as jnp
  >>> state = init((), capacity=2, heads=1, width=1)
  >>> state = roll(state, jnp.ones((3, 1, 1)), jnp.ones((3, 1, 1)))
  >>> state.positions.tolist()
  [2, 1]
  """
  return _store(cache, key, value, lengths, refuse_overflow=False)


def unrolled(
  cache: KeyValueCache,
  key: Float[Array, "*B T K D"],
  value: Float[Array, "*B T K E"],
  *,
  lengths: Int[Array, "*B"] | None = None,
) -> tuple[Array, Array, Int[Array, "*B N"]]:
  """Keys, values and positions of the C slots followed by T new tokens.

  The keys that T new tokens may see before `roll` overwrites the oldest;
  negative positions are of slots without a token.

  Returns:
    ``*B N K D``, ``*B N K E`` and int ``*B N`` with N = C + T.
  """
  _check_tokens(cache, key, value)
  count = key.shape[-3]
  taken, wrong = _token_counts(lengths, cache.length.shape, count)

  position = cache.next_positions(count)
  real = position < (cache.length + taken)[..., None]
  key, value = poison((key, value), wrong)

  join = lambda old, new: jnp.concatenate([old, new.astype(old.dtype)], -3)
  # Padding gets the position of an empty slot, which masks hide. It may be NaN,
  # of no token or beyond a table, and 0 times that is no 0.
  pad = lambda new: jnp.where(real[..., None, None], new, 0)
  places = [cache.positions, jnp.where(real, position, -1)]
  return (
    join(cache.key, pad(key)),
    join(cache.value, pad(value)),
    jnp.concatenate(places, axis=-1),
  )


def _store(cache, key, value, lengths, *, refuse_overflow: bool):
  """Writes each new token to slot position % capacity; the newest stay."""
  _check_tokens(cache, key, value)
  capacity, count = cache.capacity, key.shape[-3]

  taken, wrong = _token_counts(lengths, cache.length.shape, count)
  key, value = poison((key, value), wrong)
  if refuse_overflow:
    key, value = poison((key, value), overflows(cache, taken))

  length = cache.length + taken
  position = cache.next_positions(count)
  kept = (position < length[..., None]) & (
    position >= length[..., None] - capacity
  )
  # Dropped tokens go past the end; the kept ones are at most `capacity`
  # consecutive positions, so no slot is written twice.
  slot = jnp.where(kept, position % capacity, capacity)

  return KeyValueCache(
    key=_scatter(cache.key, slot, key),
    value=_scatter(cache.value, slot, value),
    length=length,
    forgotten=jnp.maximum(cache.forgotten, length - capacity),
  )


def _token_counts(lengths, batch: tuple[int, ...], count: int):
  """Real tokens of each row, int ``*B``, and rows out of range."""
  if lengths is None:
    return np.full(batch, count, np.int32), None
  lengths, wrong = checked_lengths(
    "cache: lengths", lengths, batch, count, f"the {count} tokens that came"
  )
  return jnp.asarray(lengths), wrong


# Under `jit`, so that tokens which are on no mesh yet move to the cache's mesh.
@jax.jit
def _scatter(stored, slot, new):
  """stored[b, slot[b, t]] = new[b, t] for every batch row b."""
  put = lambda x, s, n: x.at[s].set(n, mode="drop")
  for _ in range(slot.ndim - 1):
    put = jax.vmap(put)

  # One letter per batch axis; "." must not be sharded, "k" is the heads.
  rows = "abcdefg"[: slot.ndim - 1]
  letters = [f"{rows}.k.", f"{rows}.", f"{rows}.k."]
  arrays = (stored, slot, new.astype(stored.dtype))
  return by_device(put, arrays, letters, letters[0])


def _check_tokens(cache, key, value) -> None:
  """Raises ValueError unless new keys and values have the cache's axes."""
  for name, new in (("key", key), ("value", value)):
    old = getattr(cache, name)
    batch, tail = old.shape[:-3], old.shape[-2:]
    if (
      new.shape[:-3] != batch or new.shape[-2:] != tail or new.ndim != old.ndim
    ):
      raise ValueError(
        f"cache: {name} must have shape {[*batch, 'T', *tail]}, got"
        f" {list(new.shape)}"
      )

  if key.shape[-3] != value.shape[-3]:
    raise ValueError(
      f"cache: value must have as many tokens as key, got {value.shape[-3]}"
      f" and {key.shape[-3]}"
    )


def _check_rewind(length, read):
  """Lengths to rewind to, int ``*B`` in [0, read], and rows out of range."""
  length = int32("cache: length", length)
  if length.shape not in ((), read.shape):
    raise ValueError(
      f"cache: length must have shape {list(read.shape)}, one a row, or be one"
      f" number, got {list(length.shape)}"
    )

  # numpy stays numpy: a length that is known is refused while tracing too.
  xp = np if isinstance(length, np.ndarray) else jnp
  length = xp.broadcast_to(length, read.shape)

  wrong = refuse(
    lambda length, read: (length < 0) | (length > read),
    lambda length, read: ValueError(
      "cache: length must be within 0 and the tokens that were read, to keep so"
      f" many of them, got {length.tolist()} of {read.tolist()}"
    ),
    length,
    read,
  )
  # In range also where it is wrong, for the positions are computed from it.
  return jnp.clip(length, 0, read), wrong
