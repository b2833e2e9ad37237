"""Check that a user's function does not close over traced arrays."""

import functools
import types
from collections.abc import Callable, Iterator

import jax

from attnjax.ops.value_checks import known

__all__ = ["refuse_captured"]


def refuse_captured(rule: str, fn: Callable) -> None:
  """Raises ValueError if a function closes over a traced array.

  `attend` differentiates by the arrays that it is given. The gradient of an
  array in a closure would be 0, without an error.

  >>> refuse_captured("from_fn", lambda b, h, q, k: q >= k)
  """
  for x in jax.tree.leaves(list(_closed_over(fn, set()))):
    if not known(x):
      raise ValueError(
        f"{rule}: the function must not close over traced arrays, got one of"
        f" {x.dtype}{list(x.shape)}; give it as an argument,"
        f" {rule}(fn, array) with fn(..., array)"
      )


def _closed_over(fn, seen: set[int]) -> Iterator:
  """Yields values that a function closes over, and those in turn.

  Of a callable object, or of the object of a method, these are its attributes.
  """
  # Closures may refer to themselves, as a recursive function does.
  if id(fn) in seen:
    return
  seen.add(id(fn))

  if isinstance(fn, functools.partial):
    found = [fn.func, *fn.args, *fn.keywords.values()]
  else:
    fn = getattr(fn, "__wrapped__", fn)
    cells = getattr(fn, "__closure__", None) or ()
    found = [*(getattr(fn, "__defaults__", None) or ())]
    owner = getattr(fn, "__self__", None)
    # A bound method closes over its object.
    found += [owner]
    for holder in (fn, owner):
      # `__self__` of a builtin is its module, which holds everything.
      if not isinstance(holder, (types.ModuleType, type)):
        found += getattr(holder, "__dict__", {}).values()

    for cell in cells:
      try:
        found.append(cell.cell_contents)
      except ValueError:  # a name that is not bound yet
        continue

  for x in found:
    yield x
    if callable(x):
      yield from _closed_over(x, seen)
