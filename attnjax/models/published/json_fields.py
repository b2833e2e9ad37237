"""Fields of published JSON files: what each must be, or both are named."""

import math
import numbers
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = [
  "expect",
  "is_choice",
  "is_count",
  "is_number",
  "is_text",
  "is_token",
]


def expect(
  file: Path | str, name: str, value: Any, holds: Callable, what: str
) -> Any:
  """The value of a field, which is what it must be.

  Args:
    file: that has the field.
    name: of the field.
    value: of the field.
    holds: whether a value is right.
    what: is expected, for the error.

  Raises:
    ValueError: it is not; the file and the field are named.

  >>> expect("config.json", "width", 3, is_count, "a whole number")
  3
  >>> expect("config.json", "width", "3", is_count, "a whole number, 1 or more")
  Traceback (most recent call last):
    ...
  ValueError: config.json: width must be a whole number, 1 or more, got '3'
  """
  if not holds(value):
    raise ValueError(f"{file}: {name} must be {what}, got {value!r}")
  return value


def is_choice(value: Any) -> bool:
  """Whether a value is true or false.

  >>> is_choice(True), is_choice(1)
  (True, False)
  """
  return isinstance(value, bool)


def is_token(value: Any) -> bool:
  """Whether a value is a whole number; true is none.

  >>> is_token(0), is_token(True), is_token(2.0)
  (True, False, False)
  """
  return isinstance(value, int) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
  """Whether a value is a whole number, 1 or more.

  >>> is_count(1), is_count(0)
  (True, False)
  """
  return is_token(value) and value >= 1


def is_number(value: Any) -> bool:
  """Whether a value is a finite number.

  >>> is_number(1), is_number(float("nan")), is_number("1")
  (True, False, False)
  """
  real = isinstance(value, numbers.Real) and not isinstance(value, bool)
  return real and math.isfinite(value)


def is_text(value: Any) -> bool:
  """Whether a value is a text.

  >>> is_text("</s>"), is_text(["</s>"])
  (True, False)
  """
  return isinstance(value, str)
