"""Parser for HLO text, and how often each computation of a program runs.

`compiled.as_text()` lists computations, each a list of instructions. XLA's own
cost analysis counts the body of a loop once; here each computation carries the
product of the trip counts of the loops around it.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterator

__all__ = [
  "Array",
  "Computation",
  "Instruction",
  "Program",
  "parse",
  "read_program",
]

# Types whose name does not end in a number of bits.
_BITS = {"pred": 8, "token": 0, "c64": 64, "c128": 128}
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^{}]*)\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_CALLED = re.compile(r"\b(\w+)=(?:\{([^{}]*)\}|%?([\w.\-]+))")
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclasses.dataclass(frozen=True)
class Array:
  """Dtype, shape and memory space of one array; space 0 is HBM.

  `layout` is the text between braces: the order of axes, minor first, tiles.

  >>> Array("bf16", (3, 5), 0).bytes
  30
  """

  dtype: str
  shape: tuple[int, ...]
  space: int
  layout: str = ""

  @property
  def bytes(self) -> int:
    """Size without the padding that a layout may add."""
    # `bf16`, `s4`, `f8e4m3fn`: the first number after the letters is the bits.
    digits = re.sub(r"\D.*", "", self.dtype.lstrip("bfsuc"))
    bits = _BITS.get(self.dtype, int(digits or 0))
    # Types of less than a byte are packed, so the array is rounded up, once.
    return math.ceil(math.prod(self.shape) * bits / 8)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of HLO: `name = arrays opcode(operands), attributes`.

  Args:
    name: without the per cent sign.
    arrays: of the result; a tuple is flattened.
    opcode: `dot`, `fusion`, `while`...
    operands: names of the instructions whose results it reads.
    rest: the attributes, as text.
    literal: the text between the parentheses; the value of a constant.
    root: whether its result is that of its computation.
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
    """Size of the result."""
    return sum(array.bytes for array in self.arrays)

  def called(self, *attributes: str) -> list[str]:
    """Names of the computations that the given attributes refer to."""
    return [
      name.strip().lstrip("%")
      for attribute, several, one in _CALLED.findall(self.rest)
      if attribute in attributes
      for name in (several or one).split(",")
    ]


@dataclasses.dataclass
class Computation:
  """A named list of instructions, and how often one step runs it.

  Args:
    name: without the per cent sign.
    instructions: by name, in the order of the text.
    runs: runs a step, a branch weighted by how often it is taken.
    certain: runs a step if no branch is ever taken: the least.
    fused: whether it is part of a kernel, where intermediate results stay in
      registers and scratch memory and are no traffic with HBM.
  """

  name: str
  instructions: dict[str, Instruction]
  runs: float = 0.0
  certain: float = 0.0
  fused: bool = False


@dataclasses.dataclass(frozen=True)
class Program:
  """The computations of a compiled program, with their run counts.

  Args:
    computations: by name.
    unknown_loops: loops whose trip count neither the text nor the caller of
      `read_program` tells; they count as one trip.

  >>> head = "ENTRY %f (x: f32[3]) -> f32[3] {"
  >>> line = "  ROOT %x = f32[3] parameter(0)"
  >>> found = read_program(head + chr(10) + line)
  >>> [(line.name, computation.runs) for computation, line in found.walk()]
  [('x', 1.0)]
  """

  computations: dict[str, Computation]
  unknown_loops: int

  def walk(
    self, *, fused: bool | None = None
  ) -> Iterator[tuple[Computation, Instruction]]:
    """Iterates over every instruction that runs, with its computation.

    Args:
      fused: True for those inside kernels, False for those outside; None for
        both.
    """
    for computation in self.computations.values():
      if computation.runs and fused in (None, computation.fused):
        for instruction in computation.instructions.values():
          yield computation, instruction


def read_program(
  text: str, *, turns: int | None = None, taken: float = 1.0
) -> Program:
  """Parses HLO text and counts how often a step runs each computation.

  Args:
    text: of one module, as `compiled.as_text()` returns it.
    turns: trip count of loops that hold a matrix product and whose trip count
      is not in the text; None counts them once, as are unknown loops that
      hold none.
    taken: how often a branch is taken, as a share of the times it could be.

  Raises:
    ValueError: the text has no entry computation.

  A loop of three trips round a product:

  >>> import jax, jax.numpy as jnp
  >>> f = lambda x: jax.lax.scan(lambda x, _: (x @ x, None), x, length=3)[0]
  >>> text = jax.jit(f).lower(jnp.ones((5, 5))).compile().as_text()
  >>> {c.runs for c, i in read_program(text).walk() if i.opcode == "dot"}
  {3.0}
  """
  computations, entry = parse(text)
  if entry is None:
    raise ValueError(
      f"text: expected HLO with an ENTRY computation, got {text[:40]!r}..."
    )

  computations[entry].runs = computations[entry].certain = 1.0
  unknown = 0

  for name in _callers_first(computations, entry):
    caller = computations[name]

    for instruction in caller.instructions.values():
      trips = 1

      if instruction.opcode == "while":
        known = _trip_count(instruction, computations)
        if known is None and turns is not None:
          known = turns if _has_product(instruction, computations) else None
        unknown += known is None
        trips = 1 if known is None else known

      for callee, in_kernel, is_branch in _calls(instruction):
        there = computations[callee]
        # Several instructions may call one computation: the runs add up.
        there.runs += caller.runs * trips * (taken if is_branch else 1)
        there.certain += 0 if is_branch else caller.certain * trips
        there.fused |= in_kernel or caller.fused

  return Program(computations, unknown)


def parse(text: str) -> tuple[dict[str, Computation], str | None]:
  """Parses HLO text: (computations by name, name of the entry)."""
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
  """Parses `shape opcode(operands), attributes`; None for other text."""
  # The shape of a tuple holds spaces, any other ends at the first one.
  end = _closing(text, 0) if text.startswith("(") else text.find(" ")
  shape, text = text[:end], text[end:].lstrip()
  opcode, bracket, _ = text.partition("(")
  if not bracket:
    return None

  end = _closing(text, len(opcode))
  inside = text[len(opcode) + 1 : end - 1]
  arrays = []
  for dtype, sizes, layout in _ARRAY.findall(shape):
    # `{1,0:T(8,128)S(1)}`: order of axes, tiles, memory space.
    space = re.search(r"S\((\d+)\)", layout)
    sizes = tuple(int(size) for size in sizes.split(",") if size)
    arrays.append(Array(dtype, sizes, int(space[1]) if space else 0, layout))

  return Instruction(
    name,
    tuple(arrays),
    opcode.strip(),
    tuple(re.findall(r"%([\w.\-]+)", inside)),
    text[end:],
    inside,
    root,
  )


def _closing(text: str, start: int) -> int:
  """Index after the parenthesis that closes the one at `start`."""
  depth = 0
  for place in range(start, len(text)):
    depth += {"(": 1, ")": -1}.get(text[place], 0)
    if depth == 0:
      return place + 1
  return len(text)


def _calls(instruction: Instruction) -> Iterator[tuple[str, bool, bool]]:
  """Yields (callee, whether it is one kernel, whether it is a branch)."""
  if instruction.opcode == "fusion":
    yield from ((name, True, False) for name in instruction.called("calls"))
  elif instruction.opcode == "while":
    yield from ((name, False, False) for name in instruction.called("body"))
  elif instruction.opcode == "conditional":
    branches = instruction.called(
      "branch_computations", "true_computation", "false_computation"
    )
    yield from ((name, False, True) for name in branches)
  # The `to_apply` of a reduction or a sort works on scalars and is left out.
  elif instruction.opcode in ("call", "async-start"):
    names = instruction.called("to_apply", "calls", "called_computation")
    yield from ((name, False, False) for name in names)


def _has_product(
  caller: Instruction, computations: dict[str, Computation]
) -> bool:
  """Whether what an instruction calls, at any depth, has a matrix product."""
  return any(
    each.opcode in ("dot", "convolution") or _has_product(each, computations)
    for callee, _, _ in _calls(caller)
    for each in computations[callee].instructions.values()
  )


def _trip_count(
  loop: Instruction, computations: dict[str, Computation]
) -> int | None:
  """Trip count of a `while` that counts to a constant; None if unknown."""
  if told := _TRIP_COUNT.search(loop.rest):
    return int(told[1])

  # The TPU compiler does not annotate its loops. A `lax.scan` counts from 0 by
  # ones while counter < length, so the one integer of its condition is it.
  (condition,) = loop.called("condition")
  limits = []
  names = [condition]

  for name in names:  # grows: the comparison may be inside a fusion
    for instruction in computations[name].instructions.values():
      names += instruction.called("calls")
      if instruction.opcode == "constant" and instruction.arrays[0].shape == ():
        limits.append(instruction.literal)
      if instruction.opcode == "compare" and "LT" not in instruction.rest:
        return None

  return int(limits[0]) if len(limits) == 1 and limits[0].isdigit() else None


def _callers_first(
  computations: dict[str, Computation], entry: str
) -> list[str]:
  """Names of the reachable computations in topological order."""
  callees = functools.cache(
    lambda name: [
      callee
      for instruction in computations[name].instructions.values()
      for callee, _, _ in _calls(instruction)
    ]
  )

  # Kahn's algorithm, on the calls that can be reached from the entry alone.
  waiting: collections.Counter[str] = collections.Counter()
  reached, stack = {entry}, [entry]
  while stack:
    for callee in callees(stack.pop()):
      waiting[callee] += 1
      if callee not in reached:
        reached.add(callee)
        stack.append(callee)

  order = [entry]
  for name in order:  # grows
    for callee in callees(name):
      waiting[callee] -= 1
      if not waiting[callee]:
        order.append(callee)
  return order
