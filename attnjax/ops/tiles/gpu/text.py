"""A function of Triton from its text."""

import hashlib
import linecache
from collections.abc import Callable

__all__ = ["function_of"]


def function_of(text: str, device: Callable, more: dict | None = None):
  """The function "kernel" that a text defines.

  Args:
    text: which calls `device` on each function that it defines.
    device: such as `triton.jit`.
    more: what else the text calls.
  """
  import triton.language as tl

  name = f"<attnjax kernel {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
  # Triton reads the source of a function, which no file has.
  linecache.cache[name] = len(text), None, text.splitlines(True), name
  scope = {"tl": tl, "device": device, "__name__": __name__, **(more or {})}
  exec(compile(text, name, "exec"), scope)
  return scope["kernel"]
