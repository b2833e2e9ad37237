"""Frozen pytrees that compare by value, printed as the call that made them."""

import warnings

import jax
import numpy as np

from attnjax.ops.value_checks import value_of

__all__ = ["Value", "format_call"]

_NUMBERS = (bool, int, float, complex, np.generic)
_SHORT = 8  # arrays of at most so many numbers are printed in full


class Value:
  """Base of frozen pytrees that compare and hash by value.

  An instance can be a static argument or an attribute of a module: an equal one
  causes no retracing. An instance that captures arrays has no hash and no ==,
  and raises TypeError; pass it as an argument, like any array.

  >>> from attnjax import masks
  >>> masks.causal() == masks.causal(), {masks.dilated(2), masks.dilated(2)}
  (True, {dilated(2)})
  >>> hash(masks.lengths(key=[2, 3]))
  Traceback (most recent call last):
    ...
  TypeError: lengths(key=[2, 3]) captures arrays: ...
  """

  def __eq__(self, other):
    """Compares class, structure, numbers and functions."""
    # Also what captures arrays equals itself.
    if self is other:
      return True
    if type(self) is not type(other):
      return NotImplemented
    return _key(self) == _key(other)

  def __hash__(self):
    """Hashes class, structure, numbers and functions."""
    return hash(_key(self))


def _key(x: Value) -> tuple:
  """Key for == and hash; raises TypeError if x captures an array."""
  leaves, structure = jax.tree.flatten(x)
  if not all(isinstance(leaf, _NUMBERS) for leaf in leaves):
    raise TypeError(
      f"{x!r} captures arrays: it has no hash, and no == that is true or"
      " false; give it to a jitted function as an argument like any array, not"
      " as a static one, and compare its jax.tree.leaves"
    )

  # With types: 1, 1.0 and True are equal, and compile to different programs.
  return structure, tuple((type(leaf), leaf) for leaf in leaves)


def format_call(name: str, *arguments, **named) -> str:
  """Formats a call as Python source, without keywords that are None.

  >>> import numpy as np
  >>> table = np.ones((2, 3), bool)
  >>> format_call("f", 2, abs, table, key=np.arange(3), none=None)
  'f(2, abs, bool[2,3], key=[0, 1, 2])'
  """
  parts = [_format(x) for x in arguments]
  parts += [f"{k}={_format(x)}" for k, x in named.items() if x is not None]
  return f"{name}({', '.join(parts)})"


def written(name: str, *arguments, **named) -> str:
  """The deprecated name of `format_call`."""
  warnings.warn(
    "value.written is now value.format_call", DeprecationWarning, stacklevel=2
  )
  return format_call(name, *arguments, **named)


def _format(x) -> str:
  """Formats an argument: short arrays as lists, others as dtype[shape]."""
  if callable(x) and not isinstance(x, Value):
    return getattr(x, "__name__", type(x).__name__)

  shape, dtype = (getattr(x, name, None) for name in ("shape", "dtype"))
  if shape is None or dtype is None:
    return repr(x)

  # Short rows of numbers (lengths, slopes) say more than their shape does.
  value = value_of(x) if isinstance(x, jax.Array | np.ndarray) else x
  short = len(shape) < 2 and np.prod(shape) <= _SHORT and dtype.kind in "iuf"
  if short and isinstance(value, np.ndarray | np.generic):
    return repr(value.tolist())
  return f"{dtype}[{','.join(map(str, shape))}]"
