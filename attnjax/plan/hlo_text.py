"""The text of a compiled program, taken apart: computations, instructions."""

import dataclasses
import math
import re

__all__ = ["Array", "Computation", "Instruction", "parse"]

_BITS = {"pred": 8, "token": 0, "c64": 64, "c128": 128}
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^{}]*)\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_CALLED = re.compile(r"\b(\w+)=(?:\{([^{}]*)\}|%?([\w.\-]+))")


@dataclasses.dataclass(frozen=True)
class Array:
  """Dtype, sizes and memory space of a value; space 0 is HBM.

  >>> Array("bf16", (3, 5), 0).bytes
  30
  """

  dtype: str
  shape: tuple[int, ...]
  space: int

  @property
  def bytes(self) -> int:
    """Without the padding that a layout may add."""
    digits = re.sub(r"\D.*", "", self.dtype.lstrip("bfsuc"))
    bits = _BITS.get(self.dtype, int(digits or 0))
    return math.ceil(math.prod(self.shape) * bits / 8)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line: what it makes of what.

  Args:
    name: without the per cent sign.
    arrays: what it makes, a tuple flattened.
    opcode: `dot`, `fusion`, `while`...
    operands: names.
    rest: its attributes, as they are written.
    literal: between the parentheses, of a constant its value.
    root: whether it is what its computation returns.
  """

  name: str
  arrays: tuple[Array, ...]
  opcode: str
  operands: tuple[str, ...]
  rest: str
  literal: str
  root: bool

  @property
  def bytes(self) -> int:
    """Of what it makes."""
    return sum(array.bytes for array in self.arrays)

  def called(self, *attributes: str) -> list[str]:
    """The computations that the attributes name."""
    return [
      name.strip().lstrip("%")
      for attribute, several, one in _CALLED.findall(self.rest)
      if attribute in attributes
      for name in (several or one).split(",")
    ]


@dataclasses.dataclass
class Computation:
  """Instructions, and how often a step runs them.

  Args:
    name: without the per cent sign.
    instructions: by name, in order.
    runs: times a step, branches as often as they are said to be taken.
    certain: times a step, if no branch is.
    fused: whether it is inside one kernel, where nothing goes to memory.
  """

  name: str
  instructions: dict[str, Instruction]
  runs: float = 0.0
  certain: float = 0.0
  fused: bool = False


def parse(text: str) -> tuple[dict[str, Computation], str | None]:
  """The computations of a text, and which is the entry."""
  computations: dict[str, Computation] = {}
  entry, current = None, None
  for line in text.splitlines():
    if head := _HEAD.match(line):
      current = Computation(head[2], {})
      computations[head[2]] = current
      entry = head[2] if head[1] else entry
    elif current is not None and (match := _LINE.match(line)):
      instruction = _instruction(match[2], match[3], bool(match[1]))
      if instruction is not None:
        current.instructions[instruction.name] = instruction
  return computations, entry


def _instruction(name: str, text: str, root: bool) -> Instruction | None:
  """One instruction from the right side of its line."""
  end = _closing(text, 0) if text.startswith("(") else text.find(" ")
  shape, text = text[:end], text[end:].lstrip()
  opcode, bracket, _ = text.partition("(")
  if not bracket:
    return None
  end = _closing(text, len(opcode))
  inside = text[len(opcode) + 1 : end - 1]
  return Instruction(
    name,
    arrays_of(shape),
    opcode.strip(),
    tuple(re.findall(r"%([\w.\-]+)", inside)),
    text[end:],
    inside,
    root,
  )


def arrays_of(text: str) -> tuple[Array, ...]:
  """The arrays of a shape; of a tuple, one after the other."""
  found = []
  for dtype, sizes, layout in _ARRAY.findall(text):
    space = re.search(r"S\((\d+)\)", layout)
    shape = tuple(int(size) for size in sizes.split(",") if size)
    found.append(Array(dtype, shape, int(space[1]) if space else 0))
  return tuple(found)


def _closing(text: str, start: int) -> int:
  """Where the parenthesis that opens at a place is closed, and one further."""
  depth = 0
  for place in range(start, len(text)):
    depth += {"(": 1, ")": -1}.get(text[place], 0)
    if depth == 0:
      return place + 1
  return len(text)
