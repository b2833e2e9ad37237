"""Arithmetic of one instruction: matrix products and convolutions."""

import functools
import math
import re

from attnjax.plan.hlo_text import Computation, Instruction

__all__ = ["flops_of", "target_of"]

_NUMBERS = re.compile(r"\d+")


def flops_of(instruction: Instruction, computation: Computation) -> float:
  """Of one run of a product; 0 for everything else."""
  if instruction.opcode == "dot":
    return _dot(instruction, computation, "lhs_contracting_dims={([\\d,]*)}")
  if instruction.opcode == "convolution":
    return _convolution(instruction, computation)
  if instruction.opcode == "custom-call" and "gemm" in target_of(instruction):
    pattern = r'"lhs_contracting_dimensions":\[([\d",]*)\]'
    return _dot(instruction, computation, pattern)
  return 0.0


def _dot(
  instruction: Instruction, computation: Computation, pattern: str
) -> float:
  """2 x what is made x what is summed over."""
  left = computation.instructions[instruction.operands[0]].arrays[0].shape
  match = re.search(pattern, instruction.rest)
  axes = _NUMBERS.findall(match[1]) if match else []
  summed = math.prod(left[int(axis)] for axis in axes)
  return 2.0 * math.prod(instruction.arrays[0].shape) * summed


def _convolution(instruction: Instruction, computation: Computation) -> float:
  """2 x outputs x features, at each place where window and input meet.

  A TPU writes products with batch axes as convolutions, most of whose window
  lies on padding or between the elements: that is no arithmetic.
  """
  labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.rest)
  if labels is None:
    return 0.0
  left, right = (
    computation.instructions[name].arrays[0].shape
    for name in instruction.operands[:2]
  )
  out = instruction.arrays[0].shape
  sizes = lambda names, shape: dict(zip(names, shape, strict=True))
  inputs, kernel = sizes(labels[1], left), sizes(labels[2], right)
  outputs = sizes(labels[3], out)
  window = dict(re.findall(r"(\w+)=([\dx_\-]+)", _window(instruction.rest)))
  total = 2.0 * outputs["b"] * outputs["f"] * kernel["i"]
  for place, axis in enumerate(sorted(set(labels[3]) - {"b", "f"}, key=int)):
    option = functools.partial(_option, window, place)
    low = int(option("pad", "0_0").split("_")[0])
    total *= _meetings(
      outputs[axis],
      kernel[axis],
      inputs[axis],
      (
        low,
        int(option("stride", "1")),
        int(option("lhs_dilate", "1")),
        int(option("rhs_dilate", "1")),
      ),
    )
  groups = re.search(r"batch_group_count=(\d+)", instruction.rest)
  return total / (int(groups[1]) if groups else 1)


def _window(rest: str) -> str:
  """What is said of the window; nothing for a plain product."""
  match = re.search(r"window={([^}]*)}", rest)
  return match[1] if match else ""


def _option(window: dict[str, str], place: int, name: str, default: str) -> str:
  """One option of the window, along one of its axes."""
  return window[name].split("x")[place] if name in window else default


@functools.cache
def _meetings(
  outputs: int, kernel: int, inputs: int, how: tuple[int, int, int, int]
) -> int:
  """Pairs of an output and a kernel element that meet an input element."""
  low, stride, spread, reach = how
  last = (inputs - 1) * spread
  count = 0
  for element in range(kernel):
    # Output o meets input (o * stride + element * reach - low) / spread.
    shift = element * reach - low
    if spread == 1:
      first = max(0, math.ceil(-shift / stride))
      count += max(0, min(outputs - 1, (last - shift) // stride) - first + 1)
    else:
      places = (o * stride + shift for o in range(outputs))
      count += sum(0 <= x <= last and x % spread == 0 for x in places)
  return count


def target_of(instruction: Instruction) -> str:
  """What a custom call calls."""
  match = re.search(r'custom_call_target="([^"]*)"', instruction.rest)
  return match[1] if match else ""
