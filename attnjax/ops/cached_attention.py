"""Attention of new tokens over a key-value cache, which they join."""

from collections.abc import Callable

import numpy as np

from attnjax.ops.attention import attend as default_attend
from attnjax.ops.cache import KeyValueCache, append, roll, unrolled
from attnjax.ops.forgotten_tokens import sees_forgotten
from attnjax.ops.masks import Mask, causal, full, prefix, sliding_window
from attnjax.ops.value_checks import poison
from attnjax.typing import Array, Bool, Float, Int

__all__ = ["attend_cached"]


def attend_cached(
  query: Float[Array, "*B T H D"],
  key: Float[Array, "*B T K _"],
  value: Float[Array, "*B T K _"],
  cache: KeyValueCache,
  *,
  lengths: Int[Array, "*B"] | None = None,
  mask: Mask | Bool[Array | np.ndarray, "..."] | None = None,
  store: Callable = append,
  unpack: Callable | None = None,
  attend: Callable = default_attend,
  **attend_kw,
):
  """Heads of new tokens over those of a cache, and the cache with both.

  Args:
    query: ``*B T H D``, at the positions that come next.
    key: ``*B T K D``, as the cache stores it.
    value: ``*B T K E``, as the cache stores it.
    cache: what was read so far.
    lengths: int ``*B``, how many of the T are real; None is all.
    mask: see `decode_attention`.
    store: `cache.append` or `cache.roll`.
    unpack: ``(key, value) -> (key, value)``, from what the cache stores to what
      is attended to; None is the same.
    attend: the attention to call.
    **attend_kw: for it; see `attend`.

  Returns:
    ``*B T H E`` and the new cache; with ``aux=`` a triple.

  Raises:
    ValueError: if more tokens come at once than `append` has slots for,
      `attend` has them in another order than the cache, or the mask looks
      further back than the cache goes.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops import cache
  >>> new = jnp.ones((3, 1, 2))
  >>> heads, state = attend_cached(new, new, new, cache.init((), 4, 1, 2))
  >>> heads.shape, int(state.length)
  ((3, 1, 2), 3)
  """
  count, rolling = query.shape[-3], store is roll
  if count > cache.capacity and not rolling:
    raise ValueError(
      f"decode: {count} tokens at once do not fit the capacity of"
      f" {cache.capacity}; init a larger cache"
    )

  # Ring attention may permute its tokens among devices.
  layout = getattr(attend, "layout", "contiguous")
  if layout != "contiguous":
    raise ValueError(
      "decode: attend= must have the layout 'contiguous', for a cache has its"
      f" tokens in the order of its slots, got {layout!r}; give the module such"
      " an attend, or attnjax.attend"
    )

  if mask is None:
    mask = sliding_window(cache.capacity - 1) if rolling else causal()
  mask = mask if isinstance(mask, Mask) else full() & mask

  new = store(cache, key, value, lengths=lengths)
  wrong = sees_forgotten(
    mask,
    cache.length,
    # Only `roll` forgets between the queries of one call.
    cache.forgotten if rolling else new.forgotten,
    count,
    lengths=lengths,
    rolling=cache.capacity if rolling else None,
  )

  if rolling and count > 1:
    # The last new token overwrites what the first may see, so that queries
    # attend to the old slots followed by the new tokens.
    key, value, key_positions = unrolled(cache, key, value, lengths=lengths)
    mask = mask & sliding_window(cache.capacity - 1, right=count - 1)
  else:
    key, value, key_positions = new.key, new.value, new.positions

  key, value = key.astype(query.dtype), value.astype(query.dtype)
  if unpack is not None:
    key, value = unpack(key, value)
  result = attend(
    poison(query, wrong),
    key,
    value,
    mask=mask & ~prefix(0),  # empty slots have negative positions
    query_positions=cache.next_positions(count),
    key_positions=key_positions,
    **attend_kw,
  )
  heads, *aux = result if isinstance(result, tuple) else (result,)
  return (heads, new, *aux)
