"""Checks of values: an error where they are known, else NaN at run time.

An argument may be wrong by its dtype, by its shape or by its values. The first
two are known while a program is traced, and raise. Values are known only
sometimes; `refuse` and `poison` are what every check of values is made of:

    wrong = refuse(lambda x: x < 0, lambda x: ValueError(...), x)  # or raises
    out = poison(out, wrong)  # NaN in the rows that are wrong, when it runs

So a wrong value never gives a plausible result. A check that only raises would
let a traced wrong value through.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.typing import Array, Bool

__all__ = ["known", "poison", "refuse", "value_of"]


def known(x) -> bool:
  """Whether a value is concrete, not a tracer.

  Within `jax.jit` the results of `jax.numpy` operations on a concrete value are
  tracers all the same: use `value_of` to decide on a value.

  >>> import jax
  >>> import numpy as np
  >>> known(np.ones(2)), jax.jit(lambda x: known(x))(1.0).item()
  (True, False)
  """
  return not isinstance(x, jax.core.Tracer)


def value_of(x) -> np.ndarray | None:
  """The value as numpy; None where it is traced or on another process.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> captured = jnp.arange(2)
  >>> jax.jit(lambda x: x + int(value_of(captured)[1]))(1).item()
  2
  """
  if not known(x) or not getattr(x, "is_fully_addressable", True):
    return None
  return np.asarray(x)


def refuse(
  wrong: Callable, error: Callable[..., Exception], *of
) -> Bool[Array, "..."] | None:
  """Raises if a known value is wrong; for traced values returns which are.

  Args:
    wrong: maps the arrays to bool, True where they are wrong. It uses operators
      only, so that it works on numpy arrays and on traced ones.
    error: maps the arrays, as numpy, to the exception to raise.
    *of: the arrays.

  Returns:
    What `wrong` returns, for `poison`; None where all is known to be right.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> negative = lambda x: x < 0
  >>> refuse(negative, lambda x: ValueError(f"got {x}"), jnp.float32(-1))
  Traceback (most recent call last):
    ...
  ValueError: got -1.0
  >>> root = lambda x: poison(jnp.sqrt(abs(x)), refuse(negative, ValueError, x))
  >>> jax.jit(root)(jnp.array([4.0, -4.0])).tolist()
  [2.0, nan]
  """
  values = [value_of(x) for x in of]
  if any(x is None for x in values):
    return wrong(*of)
  if np.any(wrong(*values)):
    raise error(*values)
  return None


def poison(tree, wrong: Bool[Array, "..."] | None):
  """Sets floats to NaN where something is wrong, and their derivatives.

  Args:
    tree: a pytree of arrays of floats ``*W ...``.
    wrong: bool ``*W``, or of axes of size 1; None is nowhere.

  >>> import jax.numpy as jnp
  >>> x = jnp.ones((2, 2))
  >>> poison(x, jnp.array([False, True])).tolist()
  [[1.0, 1.0], [nan, nan]]
  """
  if wrong is None:
    return tree

  def poison_array(x):
    # Trailing axes of size 1: a wrong row is wrong in all of its features.
    rows = jnp.reshape(wrong, (*wrong.shape, *(1,) * (x.ndim - wrong.ndim)))
    # A factor, not `where`: that would give wrong rows gradients of 0.
    return x * jnp.where(rows, jnp.nan, 1).astype(x.dtype)

  return jax.tree.map(poison_array, tree)
