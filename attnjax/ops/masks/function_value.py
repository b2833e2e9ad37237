"""A function as a value: equal to another of the same code and closure.

Python compares functions by identity, so a function that is defined anew at
each call would be evaluated anew at each call.
"""

import dataclasses
import functools
import hashlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from attnjax.ops.value import Value
from attnjax.ops.value_checks import value_of

__all__ = ["FunctionValue", "value_key"]

_NUMBERS = (bool, int, float, complex, str, bytes, np.generic, type(None))


class FunctionValue:
  """A function that hashes and compares by what it computes from.

  Two are equal if they have the same code (the same lines of the same file)
  and equal defaults, closures and global variables: numbers, strings, tuples,
  lists, dicts, arrays and functions in a closure compare by value, everything
  else by its own ``==``, which of most objects is identity.

  >>> band = lambda width: lambda b, h, q, k: abs(q - k) < width
  >>> FunctionValue(band(2)) == FunctionValue(band(2))
  True
  >>> FunctionValue(band(2)) == FunctionValue(band(3))
  False
  """

  def __init__(self, fn: Callable):
    self.fn, self._key = fn, value_key(fn)
    self._hash = hash(self._key)

  def __hash__(self) -> int:
    return self._hash

  def __eq__(self, other) -> bool:
    return isinstance(other, FunctionValue) and self._key == other._key


def value_key(x: Any):
  """A hashable key of a value: equal keys, equal values.

  >>> import numpy as np
  >>> value_key([1, np.arange(3)]) == value_key([1, np.arange(3)])
  True
  >>> value_key(1) == value_key(True)  # they make different programs
  False
  """
  return _key(x, ())


class _Same:
  """An object that has no hash, compared by identity, and kept alive."""

  def __init__(self, x):
    self.x = x

  def __hash__(self) -> int:
    return id(self.x)

  def __eq__(self, other) -> bool:
    return isinstance(other, _Same) and self.x is other.x


def _key(x, outer: tuple[int, ...]):
  """`value_key` within objects, given by id, that refer to themselves."""
  if isinstance(x, _NUMBERS):
    return type(x), x
  if isinstance(x, np.ndarray | jax.Array):
    return _key_of_array(x)

  if id(x) in outer:
    return "itself", outer.index(id(x))
  inner = functools.partial(_key, outer=(*outer, id(x)))

  if isinstance(x, Value):  # such as a mask: fields by value, functions too
    fields = dataclasses.fields(x)  # type: ignore[arg-type]
    return type(x), tuple(inner(getattr(x, field.name)) for field in fields)
  if isinstance(x, list | tuple):
    return type(x), tuple(map(inner, x))
  if isinstance(x, dict):
    return dict, tuple((inner(k), inner(v)) for k, v in x.items())
  if isinstance(x, functools.partial):
    return functools.partial, inner((x.func, x.args, x.keywords))
  if isinstance(x, types.MethodType):
    return types.MethodType, inner((x.__func__, x.__self__))
  if isinstance(x, types.FunctionType):
    parts = (x.__defaults__, x.__kwdefaults__, x.__dict__)
    own = x.__code__, inner(parts), inner(list(_closed_over(x)))
    return types.FunctionType, own, _globals_of(x)
  if callable(getattr(x, "__wrapped__", None)):  # by `jax.jit`
    return type(x), inner(x.__wrapped__)

  try:
    hash(x)
  except TypeError:
    return _Same(x)
  return x


def _key_of_array(x):
  """Shape, dtype and digest of an array; of a traced one, which it is."""
  value = value_of(x)
  if value is None or value.dtype == object:
    return _Same(x)
  digest = hashlib.blake2b(np.ascontiguousarray(value).tobytes()).digest()
  return "array", value.shape, str(value.dtype), digest


def _closed_over(fn: types.FunctionType) -> Iterator:
  """What the closure of a function holds, in the order of its names."""
  for cell in fn.__closure__ or ():
    try:
      yield cell.cell_contents
    except ValueError:  # a name that is not bound yet
      yield "unbound"


def _globals_of(fn: types.FunctionType) -> tuple:
  """Names and keys of the global variables that a function reads.

  Functions and modules among them are compared by identity: to follow them
  would be to walk through whole libraries.
  """
  found = []
  for name in sorted(_names(fn.__code__)):
    if name not in fn.__globals__:
      continue
    x = fn.__globals__[name]
    plain = isinstance(x, (*_NUMBERS, list, tuple, dict, np.ndarray, jax.Array))
    found.append((name, value_key(x) if plain else _Same(x)))
  return tuple(found)


def _names(code: types.CodeType) -> set[str]:
  """Global names in a function and in the functions within it."""
  inside = (x for x in code.co_consts if isinstance(x, types.CodeType))
  return set(code.co_names).union(*map(_names, inside))
