"""Integers that mean a place, a length or a segment: int32, never wrapped."""

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["int32", "known"]

_LIMITS = np.iinfo(np.int32)


def known(x) -> bool:
  """Is this value known now, and not only when the program runs?

  >>> known(np.ones(2)), jax.jit(lambda x: known(x))(1.0).item()
  (True, False)
  """
  return not isinstance(x, jax.core.Tracer)


def int32(name: str, x) -> jax.Array | np.ndarray:
  """The same integers as int32; numpy stays numpy.

  Raises:
    ValueError: if they are no integers, or one that is known does not fit:
      wrapped around it would be another position, or another document.

  >>> int32("ids", [0, 2**32])
  Traceback (most recent call last):
    ...
  ValueError: ids must fit 32 bits, got 4294967296; number them from 0
  """
  array = x if isinstance(x, jax.Array) else np.asarray(x)
  if not jnp.issubdtype(array.dtype, jnp.integer):
    raise ValueError(f"{name} must be integers, got {array.dtype}")
  if known(array) and array.dtype.itemsize >= 4 and array.dtype != np.int32:
    values = np.asarray(array)
    wide = values[(values < _LIMITS.min) | (values > _LIMITS.max)]
    if wide.size:
      raise ValueError(
        f"{name} must fit 32 bits, got {wide.flat[0]}; number them from 0"
      )
  return array.astype(np.int32)
