"""Bytes between HBM and a device, of one instruction."""

import functools
from collections.abc import Callable

from attnjax.plan.hlo import Program
from attnjax.plan.hlo_text import Computation, Instruction

__all__ = ["bytes_of"]

# Nothing of these is read or written: they name, or they wait.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
_FREE |= {"while", "conditional", "call", "after-all", "partition-id"}
_FREE |= {"async-start", "async-update", "async-done", "opt-barrier", "iota"}
_SLICES = {"dynamic-slice", "slice", "gather"}


def bytes_of(
  instruction: Instruction, computation: Computation, program: Program
) -> float:
  """Between HBM and the device, for one run of an instruction."""
  opcode = instruction.opcode
  if opcode in _FREE or opcode.endswith("-done"):
    return 0.0
  read = _whole_operands
  if opcode == "fusion":
    (callee,) = instruction.called("calls")
    read = functools.partial(_fusion_operands, program.computations[callee])
  elif opcode in _SLICES:
    return 2.0 * _in_memory(instruction)
  elif opcode == "dynamic-update-slice":
    update = computation.instructions[instruction.operands[1]]
    return 2.0 * _in_memory(update)
  written = _in_memory(instruction)
  if opcode == "fusion":
    written = _written(instruction, program.computations[callee])
  elif opcode in ("copy-start", "slice-start", "all-gather-start"):
    written = _in_memory(instruction, first=1)
  return written + read(instruction, computation)


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


def _fusion_operands(
  inside: Computation, instruction: Instruction, computation: Computation
) -> float:
  """What a kernel reads: of an operand that it only slices, the slices."""
  total = 0.0
  parameters = [
    i for i in inside.instructions.values() if i.opcode == "parameter"
  ]
  by_number = {int(p.literal): p.name for p in parameters}
  for number, name in enumerate(instruction.operands):
    whole = _in_memory(computation.instructions[name])
    users = [
      i for i in inside.instructions.values() if by_number[number] in i.operands
    ]
    parts = [_part(user, by_number[number], inside) for user in users]
    known = [part for part in parts if part is not None]
    total += min(whole, sum(known)) if len(known) == len(parts) else whole
  return total


def _part(user: Instruction, name: str, inside: Computation) -> int | None:
  """Bytes that a user reads of a parameter; None is all of it."""
  if user.opcode in _SLICES and user.operands[0] == name:
    return user.bytes
  if user.opcode == "dynamic-update-slice" and user.operands[0] == name:
    return 0  # it is written in place
  return None


def _written(instruction: Instruction, inside: Computation) -> float:
  """What a kernel writes: into an array that it updates, the update."""
  root = next(i for i in inside.instructions.values() if i.root)
  roots = [root]
  if root.opcode == "tuple":
    roots = [inside.instructions[name] for name in root.operands]
  if len(roots) != len(instruction.arrays):
    return _in_memory(instruction)
  size: Callable = lambda made, array: (
    inside.instructions[made.operands[1]].bytes
    if made.opcode == "dynamic-update-slice"
    else array.bytes
  )
  pairs = zip(roots, instruction.arrays, strict=True)
  sizes = (size(made, array) for made, array in pairs if array.space == 0)
  return float(sum(sizes))
