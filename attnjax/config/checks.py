"""Checks that many configs make, with the same words."""

from typing import Any

__all__ = ["check_at_least", "check_each_once"]


def check_at_least(config: Any, least: int, *names: str, of: str = "") -> None:
  """Checks that numbers of a config are not too small; None is none.

  Args:
    config: has the fields.
    least: the smallest number allowed.
    *names: of the fields.
    of: the path of the config within another.

  Raises:
    ValueError: names the first field that is too small.

  >>> import types
  >>> task = types.SimpleNamespace(rows=2, beams=None)
  >>> check_at_least(task, 1, "rows", "beams")
  >>> check_at_least(task, 3, "rows", of="task")
  Traceback (most recent call last):
  ValueError: task.rows must be at least 3, got 2
  """
  for name in names:
    value = getattr(config, name)
    if value is not None and value < least:
      path = f"{of}.{name}" if of else name
      raise ValueError(f"{path} must be at least {least}, got {value}")


def check_each_once(config: Any, name: str) -> None:
  """Checks that a list of a config is not empty and repeats nothing.

  Args:
    config: has the field.
    name: of the field, a tuple.

  Raises:
    ValueError: names the field.

  >>> import types
  >>> check_each_once(types.SimpleNamespace(words=("a", "a")), "words")
  Traceback (most recent call last):
  ValueError: words: expected one or more, each once, got ('a', 'a')
  """
  values = getattr(config, name)
  if not values or len({*values}) < len(values):
    raise ValueError(f"{name}: expected one or more, each once, got {values}")
