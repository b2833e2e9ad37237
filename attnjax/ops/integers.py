"""Integers that mean a place, a length or a segment: never wrapped around."""

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.value_checks import known, refuse, value_of
from attnjax.typing import Array, Bool, Int

__all__ = [
  "LIMITS",
  "int32",
  "known",
  "labels",
  "moved",
  "narrowed",
  "place",
]

LIMITS = np.iinfo(np.int32)


def int32(name: str, x) -> Int[Array | np.ndarray, "..."]:
  """The same integers as int32; numpy stays numpy.

  Where they are traced one that does not fit is the int32 next to it: it is out
  of range still, for whoever checks a range. Who checks none takes `narrowed`.

  Raises:
    ValueError: if they are no integers, or one that is known does not fit:
      wrapped around it would be another position.

  >>> int32("ids", [0, 2**32])
  Traceback (most recent call last):
    ...
  ValueError: ids must fit 32 bits, got 4294967296; number them from 0
  """
  return narrowed(name, x)[0]


def narrowed(
  name: str, x
) -> tuple[Int[Array | np.ndarray, "..."], Bool[Array, "..."] | None]:
  """The same integers as int32, and which of them do not fit: see `refuse`.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> jax.jit(lambda x: narrowed("ids", x))(jnp.uint32(2**31))
  (Array(2147483647, dtype=int32), Array(True, dtype=bool))
  """
  array = _integers(name, x)
  if np.can_cast(array.dtype, np.int32):
    return _cast(array, np.int32), None
  wrong = refuse(
    _unfit,
    lambda x: ValueError(
      f"{name} must fit 32 bits, got {x[_unfit(x)].flat[0]}; number them from 0"
    ),
    array,
  )
  if wrong is not None:
    signed = jnp.issubdtype(array.dtype, jnp.signedinteger)
    low = np.array(LIMITS.min if signed else 0, array.dtype)
    array = jnp.clip(array, low, np.array(LIMITS.max, array.dtype))
  return _cast(array, np.int32), wrong


def labels(
  names: tuple[str, str], x, y
) -> tuple[Array | np.ndarray, Array | np.ndarray]:
  """Two arrays of integers that are compared for equality, as one dtype.

  Of 32 bits where their values are known and fit, else as they are; numpy stays
  numpy.

  Raises:
    ValueError: if they are no integers, or have no integer dtype in common.

  >>> import numpy as np
  >>> a, b = labels(("a", "b"), np.arange(3), np.arange(2, dtype=np.uint8))
  >>> a.dtype, b.dtype
  (dtype('int32'), dtype('int32'))
  """
  x, y = (_smallest(name, z) for name, z in zip(names, (x, y), strict=True))
  dtype = np.promote_types(x.dtype, y.dtype)
  if jax.dtypes.canonicalize_dtype(dtype) != dtype or dtype.kind == "f":
    raise ValueError(
      f"{names[0]} and {names[1]} must have one integer dtype, got {x.dtype}"
      f" and {y.dtype}; cast both to int32"
    )
  return _cast(x, dtype), _cast(y, dtype)


def place(x):
  """A position or an index: a Python int as it is, anything else as int32.

  >>> import numpy as np
  >>> place(np.uint8(200)).dtype.name, place(7)
  ('int32', 7)
  """
  return x if isinstance(x, int) else int32("position", x)


def moved(x, by: int):
  """x + by, of int32 held at its ends: there it is past every position.

  >>> import numpy as np
  >>> moved(np.array([5, 2**31 - 1], np.int32), 7).tolist()
  [12, 2147483647]
  """
  if isinstance(x, int) or by == 0:
    return x + by
  xp = np if isinstance(x, np.ndarray | np.generic) else jnp
  if by > 0:
    return xp.minimum(x, int(LIMITS.max) - by) + by
  return xp.maximum(x, int(LIMITS.min) - by) + by


def _integers(name: str, x) -> Array | np.ndarray:
  """As an array of integers; numpy stays numpy."""
  array = x if isinstance(x, jax.Array) else np.asarray(x)
  if not jnp.issubdtype(array.dtype, jnp.integer):
    raise ValueError(f"{name} must be integers, got {array.dtype}")
  return array


def _cast(x, dtype) -> Array | np.ndarray:
  """Of another dtype; what is known stays known, within `jax.jit` too."""
  if x.dtype == dtype:
    return x
  if not known(x):
    return x.astype(dtype)
  with jax.ensure_compile_time_eval():
    return x.astype(dtype)


def _unfit(x):
  """Which do not fit int32; an unsigned one is not below any of them."""
  above = x > np.array(LIMITS.max, x.dtype)
  if jnp.issubdtype(x.dtype, jnp.unsignedinteger):
    return above
  return above | (x < np.array(LIMITS.min, x.dtype))


def _smallest(name: str, x) -> Array | np.ndarray:
  """As int32 where that is known to lose nothing, else of the dtype it has.

  numpy may have more bits than the arrays of JAX: without x64 they must fit.
  """
  array = _integers(name, x)
  if np.can_cast(array.dtype, np.int32):
    return _cast(array, np.int32)
  wide = jax.dtypes.canonicalize_dtype(array.dtype) == array.dtype
  value = value_of(array)
  if value is None or (wide and _unfit(value).any()):
    return array
  return int32(name, array)
