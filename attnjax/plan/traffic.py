"""Bytes between HBM and a device, of one instruction."""

import math

from attnjax.plan.hlo import Program
from attnjax.plan.hlo_text import Computation, Instruction

__all__ = ["bytes_of"]

# Nothing of these is read or written: they name, or they wait.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
_FREE |= {"while", "conditional", "call", "after-all", "partition-id"}
_FREE |= {"async-start", "async-update", "async-done", "opt-barrier", "iota"}
_SLICES = {"dynamic-slice", "slice", "gather"}
_VIEWS = {"bitcast", "reshape"}  # the same bytes under another shape
_PASSING = {*_VIEWS, "copy", "convert", "transpose"}  # element for element


def bytes_of(
  instruction: Instruction, computation: Computation, program: Program
) -> float:
  """Between HBM and the device, for one run of an instruction."""
  opcode = instruction.opcode
  if opcode in _FREE or opcode.endswith("-done"):
    return 0.0
  if opcode == "fusion":
    read = _read_by_kernel(program, instruction, computation)
    return read + _written_by_kernel(program, instruction)
  if opcode in _SLICES:
    return 2.0 * _in_memory(instruction)
  if opcode == "dynamic-update-slice":
    update = computation.instructions[instruction.operands[1]]
    return 2.0 * _in_memory(update)
  # What starts a copy makes a tuple: what it will give, and what it was given.
  one = opcode in ("copy-start", "slice-start", "all-gather-start")
  written = _in_memory(instruction, first=1 if one else None)
  return written + _whole_operands(instruction, computation)


def _in_memory(instruction: Instruction, first: int | None = None) -> float:
  """Bytes in HBM of what an instruction makes."""
  arrays = instruction.arrays[:first]
  return float(sum(array.bytes for array in arrays if array.space == 0))


def _whole_operands(
  instruction: Instruction, computation: Computation
) -> float:
  """All that is read lies whole in memory."""
  made = computation.instructions
  return sum((_in_memory(made[name]) for name in instruction.operands), 0.0)


def _read_by_kernel(
  program: Program, instruction: Instruction, computation: Computation
) -> float:
  """What a kernel reads: of an operand that it only slices, the slices."""
  (callee,) = instruction.called("calls")
  total = 0.0
  for number, name in enumerate(instruction.operands):
    whole = _in_memory(computation.instructions[name])
    part = _read(_parameter(program, callee, number), callee, program)
    total += whole if part is None else min(whole, part)
  return total


def _parameter(program: Program, callee: str, number: int) -> str:
  """The name that an operand has inside a kernel."""
  inside = program.computations[callee].instructions.values()
  return next(
    each.name
    for each in inside
    if each.opcode == "parameter" and int(each.literal) == number
  )


def _read(name: str, callee: str, program: Program) -> int | None:
  """Bytes read of a value inside a kernel; None is all of it.

  A kernel makes only those elements that something asks of it in the end: what
  is copied or converted first, and then sliced, is read as far as the slice.
  """
  inside = program.computations[callee].instructions
  if inside[name].root:
    return None
  total = 0
  for user in inside.values():
    if name not in user.operands:
      continue
    part: int | None = None
    first = user.operands[0] == name
    if user.opcode in _SLICES and first:
      part = user.bytes
    elif user.opcode == "dynamic-update-slice" and first:
      part = 0  # it is written in place
    elif user.opcode in _PASSING:
      part = _read(user.name, callee, program)
    elif user.opcode == "fusion":
      (deeper,) = user.called("calls")
      number = user.operands.index(name)
      part = _read(_parameter(program, deeper, number), deeper, program)
      if part is None and _size(user) == _size(inside[name]):
        part = _read(user.name, callee, program)
    if part is None:
      return None
    total += part
  return total


def _size(instruction: Instruction) -> int:
  """Elements of what an instruction makes."""
  return sum(math.prod(array.shape) for array in instruction.arrays)


def _written_by_kernel(program: Program, instruction: Instruction) -> float:
  """What a kernel writes: into an array that it updates, the update."""
  (callee,) = instruction.called("calls")
  inside = program.computations[callee].instructions
  root = next(each for each in inside.values() if each.root)
  roots = [root]
  if root.opcode == "tuple":
    roots = [inside[name] for name in root.operands]
  if len(roots) != len(instruction.arrays):
    return _in_memory(instruction)
  total = 0
  for made, array in zip(roots, instruction.arrays, strict=True):
    if array.space == 0:
      update = _update(made, inside)
      total += array.bytes if update is None else update
  return float(total)


def _update(made: Instruction, inside: dict[str, Instruction]) -> int | None:
  """Bytes of an update in place; None where all of the array is written."""
  while made.opcode in _VIEWS:
    made = inside[made.operands[0]]
  if made.opcode == "dynamic-update-slice":
    return inside[made.operands[1]].bytes
  return None
