"""Values of a tile as names in the text of a GPU's kernel, and their axes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

__all__ = [
  "Added",
  "Axes",
  "Listed",
  "Term",
  "literal",
  "type_of",
]


class Term(NamedTuple):
  """A value: an expression of Triton, and the axes along which it differs.

  Args:
    text: the expression, a name or a literal.
    axes: names, in the order of `Axes`.
    dtype: of the value.
    clean: whether it is 0 where an axis is padded.
    loaded: the dtype that it has in the kernel where that is narrower.
  """

  text: str
  axes: tuple[str, ...]
  dtype: Any
  clean: bool = False
  loaded: Any = None


class Listed(NamedTuple):
  """A small array that tiles are given whole, and look numbers up in.

  Args:
    read: the numbers at row-major indices, a term of int32, as a term.
    shape: of the array.
    dtype: of the array.
  """

  read: Callable[[Term], Term]
  shape: tuple[int, ...]
  dtype: Any


class Added(NamedTuple):
  """An array of zeros but for some numbers: what is added, and where.

  Args:
    numbers: pairs of a row-major index and what is added there. Either is one
      number, or both have all numbers of a tile: each is added in its place.
  """

  numbers: tuple[tuple[Term, Term], ...]


class Axes(NamedTuple):
  """The axes of a tile: their order, and how long they are.

  An axis of features is padded to a power of 2, as Triton has it, and to at
  least 16, as a matrix unit has it.

  Args:
    order: of "t" and "s"; axes of features come after them.
    sizes: by name.

  >>> axes = Axes(("t", "s"), {"t": 64, "s": 32, "f80": 80})
  >>> axes.sorted({"f80", "s"}), axes.long("f80"), axes.is_padded("f80")
  (('s', 'f80'), 128, True)
  """

  order: tuple[str, ...]
  sizes: dict[str, int]

  def sorted(self, names) -> tuple[str, ...]:
    """The names in the order in which a term has them."""
    rank = lambda x: self.order.index(x) if x in self.order else len(self.order)
    return tuple(sorted(names, key=lambda x: (rank(x), x)))

  def long(self, name: str) -> int:
    """How long the axis is in the kernel."""
    size = self.sizes[name]
    return size if name in self.order else max(1 << (size - 1).bit_length(), 16)

  def is_padded(self, name: str) -> bool:
    """Whether the kernel has more of the axis than there is."""
    return self.long(name) != self.sizes[name]

  def shape(self, names: Sequence[str]) -> str:
    """The shape of a term with these axes, as Triton writes it."""
    return f"({', '.join(str(self.long(n)) for n in names)},)"

  def along(self, name: str) -> str:
    """0, 1, 2... along an axis, a name that the kernel begins with."""
    return f"along_{name}"

  def spread(self, text: str, have: Sequence[str], want: Sequence[str]) -> str:
    """A term of some axes where more are.

    >>> Axes(("t", "s"), {}).spread("x", ("t",), ("t", "s"))
    'x[:, None]'
    """
    if not have or tuple(have) == tuple(want):
      return text
    places = ", ".join(":" if name in have else "None" for name in want)
    return f"{text}[{places}]"


_TYPES = {
  "bool": "tl.int1",
  "int8": "tl.int8",
  "int16": "tl.int16",
  "int32": "tl.int32",
  "int64": "tl.int64",
  "uint8": "tl.uint8",
  "uint16": "tl.uint16",
  "uint32": "tl.uint32",
  "uint64": "tl.uint64",
  "float16": "tl.float16",
  "bfloat16": "tl.bfloat16",
  "float32": "tl.float32",
}


def type_of(dtype) -> str:
  """The name of a dtype in Triton.

  >>> type_of("float32")
  'tl.float32'
  """
  return _TYPES[jnp.dtype(dtype).name]


def literal(x, dtype) -> Term:
  """A number that is known.

  >>> literal(float("-inf"), "float32").text
  'float("-inf")'
  """
  dtype = jnp.dtype(dtype)
  value = np.asarray(x).astype(dtype)[()]
  if dtype == bool:
    text = str(bool(value))
  elif jnp.issubdtype(dtype, jnp.integer):
    text = str(int(value))
  else:
    number = float(value)
    text = repr(number) if np.isfinite(number) else f'float("{number}")'
  if text.startswith("-"):
    text = f"({text})"
  return Term(text, (), dtype, clean=not value)
