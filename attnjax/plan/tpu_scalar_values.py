"""Values of the scalar registers of a TPU, some of which are not known."""

from collections.abc import Callable
from typing import Any

__all__ = ["UNKNOWN", "negated_of", "result_of", "select", "signed"]


class _Unknown:
  """A value that is not known; what is computed of it is not known either."""

  def _same(self, *_: Any) -> "_Unknown":
    return self

  __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _same
  __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _same
  __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _same
  __lt__ = __le__ = __gt__ = __ge__ = _same
  __eq__ = __ne__ = _same  # type: ignore[assignment]
  __hash__ = object.__hash__

  def __bool__(self) -> bool:
    return False


UNKNOWN: Any = _Unknown()


def signed(value: Any) -> Any:
  """A number as 32 bits have it, signed.

  >>> signed(2**32 - 1), signed(5)
  (-1, 5)
  """
  if value is UNKNOWN:
    return value
  value &= 0xFFFFFFFF
  return value - (1 << 32) if value & 0x80000000 else value


def _unsigned(value: Any) -> Any:
  """The same bits, unsigned."""
  return value if value is UNKNOWN else value & 0xFFFFFFFF


def negated_of(value: Any) -> Any:
  """The negation of a predicate.

  >>> negated_of(UNKNOWN) is UNKNOWN, negated_of(False)
  (True, True)
  """
  return UNKNOWN if value is UNKNOWN else not value


def _and(x: Any, y: Any) -> Any:
  """Whether both are met."""
  if any(z is not UNKNOWN and not z for z in (x, y)):
    return False
  return UNKNOWN if UNKNOWN in (x, y) else True


def _or(x: Any, y: Any) -> Any:
  """Whether one is met."""
  return negated_of(_and(negated_of(x), negated_of(y)))


def select(test: Any, x: Any, y: Any) -> Any:
  """One of two values.

  >>> select(True, 1, 2), select(UNKNOWN, 1, 2) is UNKNOWN
  (1, True)
  """
  if test is UNKNOWN:
    return x if x is y else UNKNOWN
  return x if test else y


_OPERATIONS: dict[str, Callable] = {
  "smov": lambda x: x,
  "pmov": lambda x: x,
  "int_to_ptr": lambda x: x,
  "sadd": lambda x, y: x + y,
  "ssub": lambda x, y: x - y,
  "smul": lambda x, y: signed(x * y),
  "smulhi": lambda x, y: signed((_unsigned(x) * _unsigned(y)) >> 32),
  "sand": lambda x, y: x & y,
  "sor": lambda x, y: x | y,
  "sxor": lambda x, y: x ^ y,
  "sshll": lambda x, y: signed(x << y),
  "sshra": lambda x, y: signed(x) >> y,
  "sshrl": lambda x, y: _unsigned(x) >> y,
  "smax": lambda x, y: UNKNOWN if UNKNOWN in (x, y) else max(x, y),
  "smin": lambda x, y: UNKNOWN if UNKNOWN in (x, y) else min(x, y),
  "por": _or,
  "pand": _and,
  "pnand": lambda x, y: negated_of(_and(x, y)),
  "pnor": lambda x, y: negated_of(_or(x, y)),
  "pneg": negated_of,
  "scalar_select": select,
  "scalar_lea": lambda x, *more: sum(more, x),
}
_COMPARISONS: dict[str, Callable] = {
  "eq": lambda x, y: x == y,
  "ne": lambda x, y: x != y,
  "lt": lambda x, y: x < y,
  "le": lambda x, y: x <= y,
  "gt": lambda x, y: x > y,
  "ge": lambda x, y: x >= y,
}


def result_of(code: str, values: list[Callable]) -> Callable:
  """What an operation computes; unknown of one that is not followed.

  >>> result_of("sadd.s32", [lambda m: 2, lambda m: 3])(None)
  5
  """
  parts = code.split(".")
  of = _OPERATIONS.get(parts[0])
  if parts[0] == "scmp" and parts[2] in ("s32", "u32"):
    of = _COMPARISONS.get(parts[1])
    if of is not None and parts[2] == "u32":
      signed = of
      of = lambda x, y: signed(_unsigned(x), _unsigned(y))
  if of is None:
    return lambda m: UNKNOWN

  chosen = of
  if len(values) == 2:
    x, y = values
    return lambda m: chosen(x(m), y(m))
  return lambda m: chosen(*(x(m) for x in values))
