"""The words with which a cache refuses what does not fit it."""

import jax.numpy as jnp
import numpy as np

from attnjax.ops.integers import int32
from attnjax.ops.known import refuse

__all__ = ["check_tokens", "checked_lengths", "checked_rewind"]


def check_tokens(cache, key, value) -> None:
  """New keys and values have the cache's axes, but for their own length."""
  for name, x, held in (("key", key, cache.key), ("value", value, cache.value)):
    batch, tail = held.shape[:-3], held.shape[-2:]
    if x.shape[:-3] != batch or x.shape[-2:] != tail or x.ndim != held.ndim:
      raise ValueError(
        f"cache: {name} must have shape {[*batch, 'T', *tail]}, got"
        f" {list(x.shape)}"
      )
  if key.shape[-3] != value.shape[-3]:
    raise ValueError(
      f"cache: value must have as many tokens as key, got {value.shape[-3]}"
      f" and {key.shape[-3]}"
    )


def checked_lengths(lengths, batch: tuple[int, ...], count: int):
  """One length a row within what came, and which rows have another: `refuse`.

  A row that has is taken whole, for `poison` to mark.
  """
  lengths = int32("cache: lengths", lengths)
  if lengths.shape != batch:
    raise ValueError(
      f"cache: lengths must have shape {list(batch)}, one a row, got"
      f" {list(lengths.shape)}"
    )
  wrong = refuse(
    lambda lengths: (lengths < 0) | (lengths > count),
    lambda lengths: ValueError(
      f"cache: lengths must be within 0 and the {count} tokens that came, got"
      f" {lengths.tolist()}"
    ),
    lengths,
  )
  taken = lengths if wrong is None else jnp.where(wrong, count, lengths)
  return jnp.asarray(taken), wrong


def checked_rewind(length, held):
  """One length a row within what was read, and which rows have another."""
  length = int32("cache: length", length)
  if length.shape not in ((), held.shape):
    raise ValueError(
      f"cache: length must have shape {list(held.shape)}, one a row, or be one"
      f" number, got {list(length.shape)}"
    )
  spread = (
    np.broadcast_to if isinstance(length, np.ndarray) else jnp.broadcast_to
  )
  length = spread(length, held.shape)
  wrong = refuse(
    lambda length, held: (length < 0) | (length > held),
    lambda length, held: ValueError(
      "cache: length must be within 0 and the tokens that were read, to keep so"
      f" many of them, got {length.tolist()} of {held.tolist()}"
    ),
    length,
    held,
  )
  return jnp.clip(length, 0, held), wrong
