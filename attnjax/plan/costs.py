"""FLOPs and HBM traffic of a compiled program, loops multiplied out."""

import dataclasses
import functools
import math
import re

from attnjax.plan.hlo import Computation, Instruction, Program

__all__ = ["Costs", "bytes_of", "costs", "flops_of"]

_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
# Parts of the names of custom calls that compute: the text does not show what.
_KERNELS = ("tpu_custom_call", "cudnn", "triton", "mosaic", "matmul", "conv")

# Instructions without traffic of their own: they name a value, or wait for one.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
_FREE |= {"while", "conditional", "call", "after-all", "partition-id"}
_FREE |= {"async-start", "async-update", "async-done", "opt-barrier", "iota"}
_SLICES = {"dynamic-slice", "slice", "gather"}
_VIEWS = {"bitcast", "reshape"}  # the same bytes under another shape
_PASSING = {*_VIEWS, "copy", "convert", "transpose"}  # element for element


@dataclasses.dataclass(frozen=True)
class Costs:
  """Arithmetic and memory traffic of one step on one device.

  Args:
    flops: multiplications and additions of matrix products and convolutions,
      a branch weighted as `read_program` was told.
    certain_flops: those outside branches: the least.
    bytes: read from HBM and written to it, outside kernels.
    cycles: the compiler's own estimate for its kernels, one after the other;
      0 where it gives none.
    opaque: calls a step of kernels whose arithmetic is unknown, by name.

  >>> Costs(3.0, 2.0, 5.0, 0.0, {}).flops
  3.0
  """

  flops: float
  certain_flops: float
  bytes: float
  cycles: float
  opaque: dict[str, float]


def costs(program: Program) -> Costs:
  """Sums the costs of all instructions of a program.

  Args:
    program: from `read_program`.

  A product in a loop counts at every trip:

  >>> import jax, jax.numpy as jnp
  >>> from attnjax.plan.hlo import read_program
  >>> f = lambda x: jax.lax.scan(lambda x, _: (x @ x, None), x, length=3)[0]
  >>> text = jax.jit(f).lower(jnp.ones((5, 5))).compile().as_text()
  >>> costs(read_program(text)).flops == 3 * 2 * 5**3
  True
  """
  flops, certain, traffic, cycles = 0.0, 0.0, 0.0, 0.0
  opaque: dict[str, float] = {}

  for computation, instruction in program.walk():
    one = flops_of(instruction, computation)
    flops += one * computation.runs
    certain += one * computation.certain

    # Inside a kernel there is no traffic: `bytes_of` its call has it all.
    if not computation.fused:
      moved = bytes_of(instruction, computation, program)
      traffic += moved * computation.runs
      told = _CYCLES.search(instruction.rest)
      cycles += int(told[1]) * computation.runs if told else 0

    name = _custom_call_target(instruction)
    if not one and any(part in name.lower() for part in _KERNELS):
      opaque[name] = opaque.get(name, 0.0) + computation.runs

  return Costs(flops, certain, traffic, cycles, opaque)


def flops_of(instruction: Instruction, computation: Computation) -> float:
  """FLOPs of one run of a product or a convolution; 0 for anything else."""
  if instruction.opcode == "dot":
    return _dot(instruction, computation, "lhs_contracting_dims={([\\d,]*)}")
  if instruction.opcode == "convolution":
    return _convolution(instruction, computation)
  if told := _told_by_kernel(instruction, "flops"):
    return told
  # XLA writes products for cuBLAS as custom calls with a JSON attribute.
  if "gemm" in _custom_call_target(instruction):
    pattern = r'"lhs_contracting_dimensions":\[([\d",]*)\]'
    return _dot(instruction, computation, pattern)
  return 0.0


def _told_by_kernel(instruction: Instruction, what: str) -> float:
  """What a kernel told the compiler that it takes; 0 where it told nothing."""
  if instruction.opcode != "custom-call":
    return 0.0
  match = re.search(
    rf'"cost_estimate":{{[^}}]*"{what}":"?(\d+)', instruction.rest
  )
  return float(match[1]) if match else 0.0


def _custom_call_target(instruction: Instruction) -> str:
  """What a custom call calls; "" for another instruction."""
  if instruction.opcode != "custom-call":
    return ""
  match = re.search(r'custom_call_target="([^"]*)"', instruction.rest)
  return match[1] if match else ""


def _dot(
  instruction: Instruction, computation: Computation, pattern: str
) -> float:
  """2 x elements of the result x elements of the contracted axes."""
  left = computation.instructions[instruction.operands[0]].arrays[0].shape
  match = re.search(pattern, instruction.rest)
  axes = re.findall(r"\d+", match[1]) if match else []
  summed = math.prod(left[int(axis)] for axis in axes)
  return 2.0 * math.prod(instruction.arrays[0].shape) * summed


def _convolution(instruction: Instruction, computation: Computation) -> float:
  """2 x results x input features x window elements that meet the input.

  The TPU compiler writes products with batch axes as convolutions, most of
  whose window lies on padding or between dilated elements: no arithmetic.
  """
  # `01bf_01io->01bf`: spatial axes by number, batch, features in and out.
  labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.rest)
  if labels is None:
    return 0.0

  left, right = (
    computation.instructions[name].arrays[0].shape
    for name in instruction.operands[:2]
  )
  sizes = lambda names, shape: dict(zip(names, shape, strict=True))
  inputs, kernel = sizes(labels[1], left), sizes(labels[2], right)
  outputs = sizes(labels[3], instruction.arrays[0].shape)

  # `window={size=8x12 pad=0_0x1_1}`; a plain product has none.
  text = re.search(r"window={([^}]*)}", instruction.rest)
  window = dict(re.findall(r"(\w+)=([\dx_\-]+)", text[1] if text else ""))
  total = 2.0 * outputs["b"] * outputs["f"] * kernel["i"]

  for place, axis in enumerate(sorted(set(labels[3]) - {"b", "f"}, key=int)):
    option = lambda name, default, place=place: (
      window[name].split("x")[place] if name in window else default
    )
    total *= _window_pairs(
      outputs[axis],
      kernel[axis],
      inputs[axis],
      int(option("pad", "0_0").split("_")[0]),
      int(option("stride", "1")),
      int(option("lhs_dilate", "1")),
      int(option("rhs_dilate", "1")),
    )

  groups = re.search(r"batch_group_count=(\d+)", instruction.rest)
  return total / (int(groups[1]) if groups else 1)


@functools.cache
def _window_pairs(
  outputs: int,
  kernel: int,
  inputs: int,
  pad: int,
  stride: int,
  input_dilation: int,
  kernel_dilation: int,
) -> int:
  """Pairs (output, kernel element) along one axis that meet an input."""
  last = (inputs - 1) * input_dilation
  count = 0

  for element in range(kernel):
    # Output o meets input (o * stride + shift) / input_dilation.
    shift = element * kernel_dilation - pad

    if input_dilation == 1:
      first = max(0, math.ceil(-shift / stride))
      count += max(0, min(outputs - 1, (last - shift) // stride) - first + 1)
    else:
      places = (o * stride + shift for o in range(outputs))
      count += sum(0 <= x <= last and x % input_dilation == 0 for x in places)

  return count


def bytes_of(
  instruction: Instruction, computation: Computation, program: Program
) -> float:
  """Bytes between HBM and the device for one run of an instruction."""
  opcode = instruction.opcode
  if opcode in _FREE or opcode.endswith("-done"):
    return 0.0

  if opcode == "fusion":
    read = _read_by_kernel(program, instruction, computation)
    return read + _written_by_kernel(program, instruction)
  if opcode in _SLICES:
    return 2.0 * _in_memory(instruction)
  if opcode == "dynamic-update-slice":
    # In place: the update is read, and written where it belongs.
    update = computation.instructions[instruction.operands[1]]
    return 2.0 * _in_memory(update)

  # The result of an asynchronous start is a tuple: the destination, then the
  # source, which is no second write.
  starts = opcode in ("copy-start", "slice-start", "all-gather-start")
  written = _in_memory(instruction, first=1 if starts else None)
  made = computation.instructions
  once = written + sum(_in_memory(made[name]) for name in instruction.operands)
  # A kernel may read an operand several times, if it is in HBM.
  told = _told_by_kernel(instruction, "bytes_accessed")
  return max(once, told) if once else 0.0


def _in_memory(instruction: Instruction, first: int | None = None) -> float:
  """Bytes in HBM of the first arrays of a result; None is all of them."""
  arrays = instruction.arrays[:first]
  return float(sum(array.bytes for array in arrays if array.space == 0))


def _read_by_kernel(
  program: Program, instruction: Instruction, computation: Computation
) -> float:
  """Bytes that a kernel reads: of an operand it only slices, the slices."""
  (callee,) = instruction.called("calls")
  total = 0.0
  for number, name in enumerate(instruction.operands):
    whole = _in_memory(computation.instructions[name])
    part = _read(_parameter(program, callee, number), callee, program)
    total += whole if part is None else min(whole, part)
  return total


def _parameter(program: Program, callee: str, number: int) -> str:
  """Name inside a kernel of its operand of that number."""
  inside = program.computations[callee].instructions.values()
  return next(
    each.name
    for each in inside
    if each.opcode == "parameter" and int(each.literal) == number
  )


def _read(name: str, callee: str, program: Program) -> int | None:
  """Bytes read of a value inside a kernel; None is all of it.

  A kernel computes only the elements that its result needs: a value that is
  copied or converted and then sliced is read only as far as the slice.
  """
  inside = program.computations[callee].instructions
  if inside[name].root:
    return None
  total = 0

  for user in inside.values():
    if name not in user.operands:
      continue
    part: int | None = None
    first = user.operands[0] == name  # as the source, not as an index

    if user.opcode in _SLICES and first:
      part = user.bytes
    elif user.opcode == "dynamic-update-slice" and first:
      part = 0  # it is written in place
    elif user.opcode in _PASSING:
      part = _read(user.name, callee, program)
    elif user.opcode == "fusion":
      # The TPU compiler nests kernels; one that keeps the size may only pass
      # the value on, to a slice outside it.
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
  """Number of elements of a result."""
  return sum(math.prod(array.shape) for array in instruction.arrays)


def _written_by_kernel(program: Program, instruction: Instruction) -> float:
  """Bytes that a kernel writes: of an array updated in place, the update."""
  (callee,) = instruction.called("calls")
  inside = program.computations[callee].instructions
  root = next(each for each in inside.values() if each.root)
  roots = [root]
  if root.opcode == "tuple":
    roots = [inside[name] for name in root.operands]
  # A tuple within the tuple: which root made which array is not told.
  if len(roots) != len(instruction.arrays):
    return _in_memory(instruction)

  total = 0
  for made, array in zip(roots, instruction.arrays, strict=True):
    if array.space != 0:
      continue
    while made.opcode in _VIEWS:
      made = inside[made.operands[0]]
    in_place = made.opcode == "dynamic-update-slice"
    total += inside[made.operands[1]].bytes if in_place else array.bytes
  return float(total)
