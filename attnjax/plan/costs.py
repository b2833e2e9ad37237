"""Arithmetic and memory traffic of a compiled program, loops multiplied."""

import dataclasses
import re

from attnjax.plan.flops import flops_of, target_of
from attnjax.plan.hlo import Program
from attnjax.plan.hlo_text import Instruction
from attnjax.plan.traffic import bytes_of

__all__ = ["Costs", "costs"]

_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Costs:
  """Of one step on one device.

  Args:
    flops: multiplications and additions of matrix products and convolutions,
      branches taken as often as was said when the program was read.
    certain_flops: those outside branches: the least.
    bytes: read from HBM and written to it, outside kernels.
    cycles: what the compiler thinks its kernels take, one after the other; 0
      where it does not say.
    opaque: calls of kernels that it cannot look into, by name.

  >>> Costs(3.0, 2.0, 5.0, 0.0, {}).flops
  3.0
  """

  flops: float
  certain_flops: float
  bytes: float
  cycles: float
  opaque: dict[str, float]


def costs(program: Program) -> Costs:
  """Adds up what a program does.

  Args:
    program: from `read_program`.

  A product in a loop counts at every turn:

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
    if not computation.fused:
      moved = bytes_of(instruction, computation, program)
      traffic += moved * computation.runs
      told = _CYCLES.search(instruction.rest)
      cycles += int(told[1]) * computation.runs if told else 0
    if not one and (name := _kernel(instruction)):
      opaque[name] = opaque.get(name, 0.0) + computation.runs
  return Costs(flops, certain, traffic, cycles, opaque)


def _kernel(instruction: Instruction) -> str | None:
  """The name of a kernel whose arithmetic the text does not show."""
  if instruction.opcode != "custom-call":
    return None
  name = target_of(instruction)
  known = ("tpu_custom_call", "cudnn", "triton", "mosaic", "matmul", "conv")
  return name if any(part in name.lower() for part in known) else None
