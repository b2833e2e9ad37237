"""Integers that mean a place, a length or a segment: int32, never wrapped."""

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["LIMITS", "int32", "known", "moved", "place"]

LIMITS = np.iinfo(np.int32)


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
    wide = values[(values < LIMITS.min) | (values > LIMITS.max)]
    if wide.size:
      raise ValueError(
        f"{name} must fit 32 bits, got {wide.flat[0]}; number them from 0"
      )
  return array.astype(np.int32)


def place(x):
  """A position or an index: a Python int as it is, anything else as int32.

  >>> place(np.uint8(200)).dtype.name, place(7)
  ('int32', 7)
  """
  return x if isinstance(x, int) else int32("position", x)


def moved(x, by: int):
  """x + by, of int32 held at its ends: there it is past every position.

  >>> moved(np.array([5, 2**31 - 1], np.int32), 7).tolist()
  [12, 2147483647]
  """
  if isinstance(x, int) or by == 0:
    return x + by
  xp = np if isinstance(x, np.ndarray | np.generic) else jnp
  if by > 0:
    return xp.minimum(x, int(LIMITS.max) - by) + by
  return xp.maximum(x, int(LIMITS.min) - by) + by
