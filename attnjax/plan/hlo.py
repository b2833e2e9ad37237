"""A compiled program: what runs, and how many times.

XLA's own cost analysis counts the body of a loop once. Here each computation
carries how often a step runs it: trips of the loops it is in, multiplied.
"""

import collections
import dataclasses
import functools
import re
from collections.abc import Iterator

from attnjax.plan.hlo_text import Computation, Instruction, parse

__all__ = ["Program", "read_program"]

_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclasses.dataclass(frozen=True)
class Program:
  """Every computation of a compiled program.

  Args:
    computations: by name, those that are called first.
    unknown_loops: loops whose trips the text does not tell, and nobody else;
      they count once.

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
    """Every instruction that runs.

    Args:
      fused: only those inside kernels, or only those outside; None is both.
    """
    for computation in self.computations.values():
      if computation.runs and fused in (None, computation.fused):
        for instruction in computation.instructions.values():
          yield computation, instruction


def read_program(
  text: str, *, turns: int | None = None, taken: float = 1.0
) -> Program:
  """Reads what `compiled.as_text()` writes.

  Args:
    text: HLO, of one module.
    turns: of a loop with products in it, where the text does not tell; None
      counts it once, as one is that only passes arrays on.
    taken: how often a branch is, of all times that it could be.

  Raises:
    ValueError: there is no entry computation in it.

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
    computation = computations[name]
    for instruction in computation.instructions.values():
      trips = 1
      if instruction.opcode == "while":
        known = _trips(instruction, computations)
        if known is None and turns is not None:
          known = turns if _multiplies(instruction, computations) else None
        unknown += known is None
        trips = 1 if known is None else known
      _spread(instruction, computation, computations, trips, taken)
  return Program(computations, unknown)


def _spread(
  instruction: Instruction,
  computation: Computation,
  computations: dict[str, Computation],
  trips: int,
  taken: float,
) -> None:
  """Adds the runs of a caller to what it calls."""
  for callee, inside, branch in _calls(instruction):
    there = computations[callee]
    there.runs += computation.runs * trips * (taken if branch else 1)
    there.certain += 0 if branch else computation.certain * trips
    there.fused |= inside or computation.fused


def _multiplies(
  caller: Instruction, computations: dict[str, Computation]
) -> bool:
  """Whether what is called has matrix products, however deep."""
  return any(
    each.opcode in ("dot", "convolution") or _multiplies(each, computations)
    for callee, _, _ in _calls(caller)
    for each in computations[callee].instructions.values()
  )


def _calls(instruction: Instruction) -> Iterator[tuple[str, bool, bool]]:
  """What is called: its name, whether as one kernel, whether as a branch.

  What a reduction or a sort applies to single numbers is left out.
  """
  if instruction.opcode == "fusion":
    yield from ((name, True, False) for name in instruction.called("calls"))
  elif instruction.opcode == "while":
    yield from ((name, False, False) for name in instruction.called("body"))
  elif instruction.opcode == "conditional":
    branches = instruction.called(
      "branch_computations", "true_computation", "false_computation"
    )
    yield from ((name, False, True) for name in branches)
  elif instruction.opcode in ("call", "async-start"):
    names = instruction.called("to_apply", "calls", "called_computation")
    yield from ((name, False, False) for name in names)


def _trips(
  loop: Instruction, computations: dict[str, Computation]
) -> int | None:
  """Trips of a loop that counts up to a constant by ones, as a scan does."""
  if told := _TRIPS.search(loop.rest):
    return int(told[1])
  (condition,) = loop.called("condition")
  limits = []
  names = [condition]
  for name in names:  # grows: a comparison may be fused
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
  """The names reached from the entry, each after all that call it."""
  waiting: collections.Counter[str] = collections.Counter()
  callees = functools.cache(
    lambda name: [
      callee
      for instruction in computations[name].instructions.values()
      for callee, _, _ in _calls(instruction)
    ]
  )
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
