"""The words with which a cache refuses tokens that do not fit it."""

import numpy as np

from attnjax.ops.integers import int32, known

__all__ = ["check_tokens", "checked_lengths"]


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
  """One length a row, within what came, as far as it is known now."""
  lengths = int32("cache: lengths", lengths)
  if lengths.shape != batch:
    raise ValueError(
      f"cache: lengths must have shape {list(batch)}, one a row, got"
      f" {list(lengths.shape)}"
    )
  if not known(lengths):
    return lengths
  given = np.asarray(lengths)  # even inside a trace these are known
  if ((given < 0) | (given > count)).any():
    raise ValueError(
      f"cache: lengths must be within 0 and the {count} tokens that came, got"
      f" {given.tolist()}"
    )
  return lengths
