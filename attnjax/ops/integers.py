"""Positions, lengths and segment ids as int32, without overflow."""

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.value_checks import known, refuse, value_of
from attnjax.typing import Array, Bool, Int

__all__ = [
  "LIMITS",
  "checked_lengths",
  "int32",
  "known",
  "labels",
  "moved",
  "narrowed",
  "place",
]

LIMITS = np.iinfo(np.int32)


def int32(name: str, x) -> Int[Array | np.ndarray, "..."]:
  """Converts integers to int32; numpy stays numpy.

  A traced integer that does not fit becomes the nearest int32, so that a later
  check of its range still finds it. A caller without such a check calls
  `narrowed`, which also returns which integers do not fit.

  Raises:
    ValueError: if they are not integers, or a known one does not fit: wrapped
      around it would be another position.

  >>> int32("ids", [0, 2**32])
  Traceback (most recent call last):
    ...
  ValueError: ids must fit 32 bits, got 4294967296; number them from 0
  """
  return narrowed(name, x)[0]


def narrowed(
  name: str, x
) -> tuple[Int[Array | np.ndarray, "..."], Bool[Array, "..."] | None]:
  """Converts integers to int32, and marks those that do not fit.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> jax.jit(lambda x: narrowed("ids", x))(jnp.uint32(2**31))
  (Array(2147483647, dtype=int32), Array(True, dtype=bool))
  """
  array = _integers(name, x)
  # Every value of such a dtype fits, so that none has to be checked.
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


def checked_lengths(
  name: str,
  lengths,
  batch: tuple[int, ...],
  count: int,
  entries: str,
  *,
  least: int = 0,
) -> tuple[Int[Array | np.ndarray, "*B"], Bool[Array, "*B"] | None]:
  """Checks how many of the entries that came are real in each batch row.

  Args:
    name: of the argument, for errors.
    lengths: int ``*B``, each within `least` and `count`.
    batch: the batch axes ``*B``.
    count: T, entries that came.
    entries: the T entries in words, for errors.
    least: 0, or 1 where a row must not be empty.

  Returns:
    The lengths as int32, of which numpy stays numpy, and the rows out of range
    as of `refuse`. A row out of range counts as T long, so that `poison` marks
    all of it.

  Raises:
    ValueError: if they have another shape than the batch, or a known one is out
      of range.

  >>> lengths, wrong = checked_lengths("lengths", [2, 3], (2,), 3, "3 steps")
  >>> lengths.tolist(), wrong
  ([2, 3], None)
  """
  lengths = int32(name, lengths)
  if lengths.shape != batch:
    raise ValueError(
      f"{name} must have shape {list(batch)}, one a row, got"
      f" {list(lengths.shape)}"
    )

  wrong = refuse(
    lambda lengths: (lengths < least) | (lengths > count),
    lambda lengths: ValueError(
      f"{name} must be within {least} and {entries}, got {lengths.tolist()}"
    ),
    lengths,
  )
  return lengths if wrong is None else jnp.where(wrong, count, lengths), wrong


def labels(
  names: tuple[str, str], x, y
) -> tuple[Array | np.ndarray, Array | np.ndarray]:
  """Two arrays of integers that are compared for equality, as one dtype.

  They become int32 where their values are known and fit, and keep their dtype
  otherwise; numpy stays numpy.

  Raises:
    ValueError: if they are not integers, or have no integer dtype in common.

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
  """Saturating addition x + by in int32: the result never wraps around.

  >>> import numpy as np
  >>> moved(np.array([5, 2**31 - 1], np.int32), 7).tolist()
  [12, 2147483647]
  """
  # Python integers do not overflow.
  if isinstance(x, int) or by == 0:
    return x + by
  xp = np if isinstance(x, np.ndarray | np.generic) else jnp
  if by > 0:
    return xp.minimum(x, int(LIMITS.max) - by) + by
  return xp.maximum(x, int(LIMITS.min) - by) + by


def _integers(name: str, x) -> Array | np.ndarray:
  """Converts to an array, which must be of integers; numpy stays numpy."""
  array = x if isinstance(x, jax.Array) else np.asarray(x)
  if not jnp.issubdtype(array.dtype, jnp.integer):
    raise ValueError(f"{name} must be integers, got {array.dtype}")
  return array


def _cast(x, dtype) -> Array | np.ndarray:
  """Casts an array; a known value stays known, within `jax.jit` too."""
  if x.dtype == dtype:
    return x
  if not known(x):
    return x.astype(dtype)
  # Within `jit` a cast would be staged, and its value known no longer.
  with jax.ensure_compile_time_eval():
    return x.astype(dtype)


def _unfit(x):
  """Which integers do not fit int32, bool."""
  above = x > np.array(LIMITS.max, x.dtype)
  # An unsigned dtype cannot hold the least int32, and needs no such check.
  if jnp.issubdtype(x.dtype, jnp.unsignedinteger):
    return above
  return above | (x < np.array(LIMITS.min, x.dtype))


def _smallest(name: str, x) -> Array | np.ndarray:
  """Converts to int32 where all values are known to fit, else keeps the dtype.

  Without x64 JAX has no 64-bit integers, so those of numpy must fit int32.
  """
  array = _integers(name, x)
  if np.can_cast(array.dtype, np.int32):
    return _cast(array, np.int32)
  wide = jax.dtypes.canonicalize_dtype(array.dtype) == array.dtype
  value = value_of(array)
  if value is None or (wide and _unfit(value).any()):
    return array
  return int32(name, array)
