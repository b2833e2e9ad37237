"""What a compiled TPU program costs, counted in the compiler's own schedule.

Of each kernel, those that XLA makes included, the cycles in which bundles are
issued: the scalar half of the schedule is executed for that (`ScalarProgram`).
Starts and waits of copies are replayed through one channel of the bandwidth of
HBM. It is a lower bound: not counted are the latency of a copy, conflicts of
banks, loads of instructions, clocks that drop, and branches on what vectors
hold, which are taken to run what they guard.
"""

import collections
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnjax.plan.hardware import Chip
from attnjax.plan.hlo import Instruction, Program, read_program
from attnjax.plan.tpu_scalar_program import Copy, ScalarProgram
from attnjax.plan.tpu_scalar_values import UNKNOWN
from attnjax.plan.tpu_schedule import Schedule, read_schedule
from attnjax.plan.tpu_tables import constant_of, words

__all__ = ["KernelCost", "kernel_costs"]

_GRANULE = 32  # bytes, of v5e, v5p, v6e and TPU7x: a unit of the size of a copy
_TWO_CORES = ("v4", "v5p")  # share the kernels of one JAX device


class KernelCost(NamedTuple):
  """What the runs of one kernel cost in a step.

  Args:
    name: of its instruction in the program.
    written: whether Pallas wrote it; else it is XLA's.
    runs: how often a step runs it.
    cycles: in which bundles are issued, a run, of the slower core.
    waited: cycles of waits for copies, a run.
    matrix: share of the cycles in which the matrix units are busy.
    hbm: bytes between HBM and the chip, a run.
    spills: registers that are stored for want of room, in the program text.
    unknown: branches, a run, that depend on what is not known.
    read: False of a kernel whose schedule is not among the files; it counts
      nothing.

  >>> KernelCost("k", True, 2.0, 100, 5, 0.5, 0, 0, 0).seconds(1e9)
  2.1e-07
  """

  name: str
  written: bool
  runs: float
  cycles: int
  waited: int
  matrix: float
  hbm: int
  spills: int
  unknown: int
  read: bool = True

  def seconds(self, clock: float) -> float:
    """Time of all runs at that many cycles a second."""
    return self.runs * (self.cycles + self.waited) / clock


def kernel_costs(
  files: Sequence[pathlib.Path],
  chip: Chip,
  *,
  tables: Sequence[Sequence[np.ndarray]] = (),
  turns: int | None = None,
  taken: float = 1.0,
) -> list[KernelCost]:
  """The cost of each kernel of a program.

  Args:
    files: that libtpu dumped of it, of the passes `DUMPED_PASSES`.
    chip: that it is compiled for.
    tables: of the kernels that Pallas wrote, in order, the first operands of
      each, where the program computes them.
    turns: as of `read_program`.
    taken: as of `read_program`.

  Raises:
    ValueError: there is no program among the files.

  >>> from attnjax.plan.hardware import CHIPS
  >>> kernel_costs([], CHIPS["v5e"])
  Traceback (most recent call last):
  ValueError: files: expected one program that libtpu dumped, got []
  """
  programs = [x for x in files if x.name.endswith("TLP-hlo.txt")]
  if len(programs) != 1:
    raise ValueError(
      "files: expected one program that libtpu dumped, got"
      f" {[x.name for x in programs]}"
    )
  program = read_program(programs[0].read_text(), turns=turns, taken=taken)

  found, given = [], iter(tables)
  twins: dict[str, KernelCost] = {}
  later: list[tuple[str, str, bool, float]] = []
  for computation, line in program.walk(fused=False):
    written = 'custom_call_target="tpu_custom_call"' in line.rest
    known = list(next(given, ())) if written else []
    schedule = read_schedule(files, line.name)
    if schedule is None:
      # Kernels that are alike are compiled, and dumped, once.
      if written or line.opcode == "fusion":
        body = _body(line, program)
        later.append((body, line.name, written, computation.runs))
      continue

    images = dict(enumerate(known))
    for number, name in enumerate(line.operands):
      if number not in images:
        constant = constant_of(name, computation.instructions)
        if constant is not None:
          images[number] = constant
    arrays = {
      number: words(x, computation.instructions[name].arrays[0])
      for number, (name, x) in enumerate(
        (name, images.get(number)) for number, name in enumerate(line.operands)
      )
      if x is not None
    }
    one = _cost(schedule, chip, arrays)
    one = one._replace(name=line.name, written=written, runs=computation.runs)
    found.append(one)
    twins[_body(line, program)] = one

  for body, name, written, runs in later:
    nothing = KernelCost(name, written, runs, 0, 0, 0.0, 0, 0, 0, read=False)
    one = twins.get(body, nothing)
    found.append(one._replace(name=name, runs=runs))
  return found


def _body(line: Instruction, program: Program) -> str:
  """What a kernel is made of: equal of those that are compiled as one."""
  match = re.search(r'"body":"([^"]*)"', line.rest)
  if match:
    return match[1]
  parts = []
  for callee in line.called("calls"):
    for each in program.computations[callee].instructions.values():
      inner = _body(each, program) if each.opcode == "fusion" else ""
      parts.append(f"{each.opcode}{each.arrays}{inner}")
  return f"{line.arrays} of {sorted(parts)}"


class _Channel:
  """Copies through one channel of the bandwidth of HBM."""

  def __init__(
    self, rate: float, operands: Sequence[tuple[int, int]], images: Mapping
  ) -> None:
    self._rate, self._operands, self._images = rate, operands, images
    self._free = 0.0
    self._ends: dict[Any, list[float]] = collections.defaultdict(list)
    self.bytes = 0

  def start(self, copy: Copy, memory: dict) -> None:
    """Takes a copy: of a table to SMEM its words are written there."""
    size = 0 if copy.granules is UNKNOWN else copy.granules * _GRANULE
    if copy.target == "smem" and copy.written_to is not UNKNOWN:
      for place, word in enumerate(self._words(copy.read_from, size)):
        memory[copy.written_to + place] = word

    end: float = copy.time
    if "hbm" in (copy.source, copy.target):
      self.bytes += size
      self._free = end = max(end, self._free) + size / self._rate
    if copy.flag is not UNKNOWN:
      self._ends[copy.flag].append(end)

  def wait(self, time: int, flag: Any) -> int:
    """Cycles from a time to the end of the first copy that has a flag."""
    ends = self._ends.get(flag) if flag is not UNKNOWN else None
    return max(0, int(np.ceil(ends.pop(0) - time))) if ends else 0

  def _words(self, address: Any, size: int) -> list[int]:
    """The words of an operand, from an address on."""
    if address is UNKNOWN:
      return []
    number, base = max(
      (x for x in self._operands if x[1] <= address), key=lambda x: x[1]
    )
    image = self._images.get(number)
    if image is None:
      return []
    first = (address - base) * (_GRANULE // 4)
    return image[first : first + size // 4].tolist()


def _cost(schedule: Schedule, chip: Chip, images: Mapping) -> KernelCost:
  """The cost of one run of a kernel, whose tables are known."""
  program = ScalarProgram(schedule)
  cores = 2 if chip.name in _TWO_CORES else 1
  rate = chip.bandwidth / cores / (chip.clock or 1.0)

  walks, moved = [], 0
  for core in range(cores):
    addresses, operands = _addresses(schedule)
    operands |= _passed_by_value(schedule, images)
    channel = _Channel(rate, addresses, images)
    memory = dict.fromkeys(program.core_index, core)
    walks.append(program.run(memory, operands, channel))
    moved += channel.bytes

  slower = max(walks, key=lambda x: x.cycles + x.stall)
  runs = np.sum([walk.runs for walk in walks], axis=0)
  unit = schedule.units.index("MATMUL")
  busy = float(runs @ np.array([used[unit] for used in schedule.used]))
  spill = schedule.units.index("VSTORE:SPILL")
  return KernelCost(
    "",
    False,
    1.0,
    slower.cycles,
    slower.stall,
    busy / schedule.capacity[unit] / max(slower.cycles * cores, 1),
    moved,
    sum(used[spill] for used in schedule.used),
    sum(walk.unknown for walk in walks),
  )


def _addresses(
  schedule: Schedule,
) -> tuple[list[tuple[int, int]], dict[int, int]]:
  """Where operands lie, in granules; and what the program is given."""
  bases, given, free = [], {}, 1 << 22
  for number, operand in sorted(schedule.operands.items()):
    bases.append((number, free))
    given[number] = free >> _shift(schedule, operand.space)
    # More than any padding of tiles makes of it.
    size = int(np.prod(operand.shape, dtype=np.int64)) * 16 // _GRANULE
    free += (size + (1 << 14)) >> 14 << 14
  return bases, given


def _passed_by_value(schedule: Schedule, images: Mapping) -> dict[int, Any]:
  """The operands that are numbers, as the size of a grid may be."""
  return {
    number: int(images[number][0]) if number in images else UNKNOWN
    for number, operand in schedule.operands.items()
    if operand.space.startswith("<")
  }


def _shift(schedule: Schedule, space: str) -> int:
  """Of how many granules a pointer is a multiple, as a power of two.

  It is 16 where programs multiply it so to make the address of a copy.
  """
  lines: Iterator = (x for bundle in schedule.bundles for x in bundle)
  pointed, shifted = set(), set()
  for line in lines:
    if line.code == f"int_to_ptr.{space}":
      pointed |= set(re.findall(r"%(\w+)", line.text))
    elif line.code == "sshll.u32" and re.search(r",\s*4$", line.text.strip()):
      shifted.add(line.result)
  return 4 if pointed & shifted else 0
