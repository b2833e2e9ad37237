"""The scalar half of a TPU kernel's schedule, executed.

Counters of the grid, predicates, branches, loads from SMEM and the starts and
waits of copies are in scalar registers: executed here, they tell how often each
bundle is issued. What vectors hold is not known. A branch that depends on it
runs what it guards, and is counted.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from attnjax.plan.tpu_scalar_values import (
  UNKNOWN,
  negated_of,
  result_of,
  select,
  signed,
)
from attnjax.plan.tpu_schedule import (
  Operation,
  Schedule,
  arguments_of,
  guard_of,
  in_order,
)

__all__ = ["Copy", "ScalarProgram", "Walk"]

_MOST_BLOCKS = 3_000_000  # a program that runs more does not end
_WORD = {"smem": 4, "sflag": 4, "vmem": 512, "hbm": 512}  # bytes an address


class Copy(NamedTuple):
  """A copy between two memories that a program starts.

  Args:
    source: the memory that it reads, such as "hbm".
    target: the memory that it writes.
    time: cycle at which it starts.
    granules: its size, in units of the chip; may be `UNKNOWN`.
    read_from: address.
    written_to: address.
    flag: that tells its end.

  >>> Copy("hbm", "vmem", 7, 4, 0, 0, 1).target
  'vmem'
  """

  source: str
  target: str
  time: int
  granules: Any
  read_from: Any
  written_to: Any
  flag: Any


class Walk(NamedTuple):
  """What one core does.

  Args:
    cycles: bundles that it issues.
    stall: cycles that it waits for copies.
    runs: how often it issues each bundle.
    unknown: branches on what is not known.

  >>> Walk(3, 0, [1, 1, 1], 0).cycles
  3
  """

  cycles: int
  stall: int
  runs: list[int]
  unknown: int


class _Machine:
  """Registers and SMEM of a core, and where it is."""

  def __init__(self, memory: dict, operands: dict, copies) -> None:
    self.registers: dict[str, Any] = {}
    self.written: dict[str, int] = {}
    self.writes = 0
    self.memory, self.operands, self.copies = memory, operands, copies
    self.time = self.stall = 0
    self.came_back = False

  def write(self, name: str, value: Any) -> None:
    """Writes a register, and notes when."""
    self.registers[name] = value
    self.writes += 1
    self.written[name] = self.writes


_Getter = Callable[[_Machine], Any]
_Step = Callable[[_Machine], None]


class _Block(NamedTuple):
  """Bundles without a branch between them, and the branch at their end."""

  start: int
  end: int
  steps: list[_Step]
  conditional: bool
  target: int | None


class ScalarProgram:
  """The scalar program of a schedule, to be run once a core.

    >>> from attnjax.plan.tpu_schedule import Operation, Schedule
  >>> bundle = [Operation("s1", "smov.u32", "3", {})]
    >>> schedule = Schedule([bundle] * 2, ["SALU"], [2], [[1]] * 2, {}, {}, 0)
    >>> ScalarProgram(schedule).run({}, {}, None).runs
    [1, 1]
  """

  def __init__(self, schedule: Schedule):
    self._schedule = schedule
    self._addresses: dict[str, int] = {}
    fresh = 1 << 22
    for name, place in schedule.allocations.items():
      unit = _WORD.get(place.space, 4)
      if place.offset is None:
        self._addresses[name] = fresh
        fresh += max(1, min(place.size, 1 << 14) // unit)
      else:
        # Fixed addresses are apart from those within the kernel's own space.
        base = 0 if place.fixed else 1 << 16
        self._addresses[name] = place.offset // unit + base

    self._blocks: list[_Block] = []
    starts = self._starts()
    ends = [*starts[1:], len(schedule.bundles)]
    for start, end in zip(starts, ends, strict=True):
      self._blocks.append(self._block(start, end))
    self._number = {block.start: n for n, block in enumerate(self._blocks)}

  @property
  def core_index(self) -> list[int]:
    """Addresses in SMEM that hold the number of the core."""
    places = self._schedule.allocations.items()
    return [self._addresses[n] for n, place in places if place.is_core_index]

  def run(self, memory: dict, operands: dict, copies) -> Walk:
    """Runs the program.

    Args:
      memory: words of SMEM by address; is written to.
      operands: addresses of the operands, or the values of scalars, by number.
      copies: has `start(copy, memory)` and `wait(time, flag)`, which returns
        how many cycles the wait takes; None for a program without copies.

    Raises:
      ValueError: the program does not end.
    """
    machine = _Machine(memory, operands, copies)
    runs = [0] * len(self._blocks)
    here, unknown, steps = 0, 0, 0
    while here < len(self._blocks):
      block = self._blocks[here]
      runs[here] += 1
      steps += 1
      if steps > _MOST_BLOCKS:
        raise ValueError(f"the program runs more than {_MOST_BLOCKS} blocks")
      # The test is made at the branch, before what is issued in its delay.
      machine.registers["test"] = True
      for step in block.steps:
        step(machine)
      machine.time += block.end - block.start

      taken = block.target is not None
      if block.conditional:
        told = machine.registers["test"]
        unknown += told is UNKNOWN
        taken = told is not UNKNOWN and bool(told)
      following = here + 1
      if taken and block.target is not None:
        following = self._number[block.target]
      machine.came_back = following <= here
      here = following

    every = [0] * len(self._schedule.bundles)
    for block, count in zip(self._blocks, runs, strict=True):
      every[block.start : block.end] = [count] * (block.end - block.start)
    return Walk(machine.time, machine.stall, every, unknown)

  def _branches(self) -> Iterator[tuple[int, int]]:
    """(bundle, target) of each branch."""
    for place, bundle in enumerate(self._schedule.bundles):
      for each in bundle:
        if each.code == "sbr.rel":
          yield place, each.target

  def _starts(self) -> list[int]:
    """Where blocks begin: after branches and at their targets."""
    starts, after = {0}, 1 + self._schedule.delay
    for place, target in self._branches():
      starts |= {target, place + after}
    return sorted(x for x in starts if x < len(self._schedule.bundles))

  def _block(self, start: int, end: int) -> _Block:
    """The steps of some bundles."""
    loops = {target for place, target in self._branches() if target <= place}
    steps: list[_Step] = []
    target, guard = None, None

    merges = [
      x for x in self._schedule.bundles[start] if x.code in ("sphi", "pphi")
    ]
    if merges:
      steps.append(self._merge(merges, start in loops))
    for place in range(start, end):
      for each in in_order(self._schedule.bundles[place]):
        if each.code == "sbr.rel":
          target = each.target
          guard = guard_of(each.text)
          if guard is not None:
            test = self._test(*guard)
            steps.append(_keep("test", test))
        elif each.code not in ("sphi", "pphi"):
          steps += self._steps(each, place - start)
    return _Block(start, end, steps, guard is not None, target)

  def _merge(self, merges: list[Operation], loop: bool) -> _Step:
    """Sets registers that join two ways, all at once."""
    names = [each.result for each in merges]
    ways = [
      [self._value(x) for x in arguments_of(each.text)] for each in merges
    ]
    sources = [
      [x.strip().lstrip("%") for x in arguments_of(m.text)] for m in merges
    ]

    def by_edge(machine: _Machine) -> None:
      new = [way[machine.came_back](machine) for way in ways]
      for name, value in zip(names, new, strict=True):
        machine.write(name, value)

    def by_age(machine: _Machine) -> None:
      # After a region that may be skipped: what was written last.
      for name, way, source in zip(names, ways, sources, strict=True):
        ages = [
          (machine.written.get(x.lstrip("%"), 0), n)
          for n, x in enumerate(source)
        ]
        machine.write(name, way[max(ages)[1]](machine))

    return by_edge if loop else by_age

  def _steps(self, each: Operation, offset: int) -> list[_Step]:
    """What an operation does, as no step or one."""
    code = each.code
    if code == "dma.done.wait":
      return [self._guarded(each.text, self._wait(each, offset))]
    if code.startswith("dma."):
      return [self._guarded(each.text, self._copy(each, offset))]
    if code == "sst":
      return [self._store(each)]
    if not each.scalar:
      return []
    if code.startswith("inlined_call_operand"):
      match = re.search(r"index: (\d+)", each.text)
      number = int(match[1]) if match else -1
      return [_keep(each.result, lambda m: m.operands.get(number, UNKNOWN))]
    return [self._assignment(each)]

  def _assignment(self, each: Operation) -> _Step:
    """Writes a register, where its guard is met."""
    name, text = each.result, each.text
    if each.code == "sld":
      match = re.match(r"\[smem:\[(.*?)\]\]\s*(.*)$", text)
      address = self._value(f"[{match[1]}]") if match else _unknown
      value: _Getter = lambda m: m.memory.get(address(m), UNKNOWN)
      return self._guarded(match[2] if match else "", _keep(name, value))

    text = re.sub(r"^\[[a-z]+:[^\]]*\]\s*", "", text)
    match = re.match(r"\((!?)%(\w+)(?:,\s*([^)]+))?\)\s*,?\s*(.*)$", text)
    arguments = match[4] if match else text
    value = result_of(
      each.code, [self._value(x) for x in arguments_of(arguments)]
    )
    if match is None:
      return _keep(name, value)
    test = self._test(match[1], match[2])
    if match[3] is None:
      return self._guarded(text, _keep(name, value))
    other = self._value(match[3])
    return _keep(name, lambda m: select(test(m), value(m), other(m)))

  def _store(self, each: Operation) -> _Step:
    """Writes a word of SMEM."""
    match = re.match(r"\[smem:\[(.*?)\]\]\s*(.*)$", each.text)
    if match is None:
      raise ValueError(f"no store is {each.text!r}")
    address, rest = self._value(f"[{match[1]}]"), match[2]
    value = self._value(re.sub(r"^\([^)]*\)\s*,?\s*", "", rest).lstrip(", "))

    def store(machine: _Machine) -> None:
      machine.memory[address(machine)] = value(machine)

    return self._guarded(rest, store)

  def _wait(self, each: Operation, offset: int) -> _Step:
    """Waits for a copy."""
    text = re.sub(r"^\([^)]*\)\s*,?\s*", "", each.text)
    flag = self._value(arguments_of(text)[0])

    def wait(machine: _Machine) -> None:
      now = machine.time + machine.stall + offset
      machine.stall += machine.copies.wait(now, flag(machine))

    return wait

  def _copy(self, each: Operation, offset: int) -> _Step:
    """Starts a copy."""
    named = each.named
    kind = named.get("between", each.code.removeprefix("dma."))
    source, _, target = kind.partition("_to_")
    text = re.sub(r"^(\[[a-z]+:[^\]]*\]\s*)?\([^)]*\)\s*,?\s*", "", each.text)
    plain = arguments_of(text)
    at = lambda name, other, place: self._value(
      named.get(name, named.get(other, plain[place] if plain[place:] else "?"))
    )
    if source == target:
      ends = self._value(plain[0]), self._value(plain[2])
    else:
      ends = at(source, "src", 0), at(target, "dst", 2)
    size = self._value(named.get("size_in_granules", "?"))
    flags = named.get("dst_syncflagno", named.get("syncflagno", "0"))
    flag = self._value(flags)

    def start(machine: _Machine) -> None:
      now = machine.time + machine.stall + offset
      sizes = size(machine), ends[0](machine), ends[1](machine), flag(machine)
      machine.copies.start(Copy(source, target, now, *sizes), machine.memory)

    return start

  def _guarded(self, text: str, step: _Step) -> _Step:
    """A step that is made where the predicate before its text is met."""
    guard = guard_of(text)
    if guard is None:
      return step
    test = self._test(*guard)

    def guarded(machine: _Machine) -> None:
      told = test(machine)
      if told is UNKNOWN or told:
        step(machine)

    return guarded

  def _test(self, negated: str, name: str) -> _Getter:
    """The value of a predicate."""
    value = self._value(f"%{name}")
    return (lambda m: negated_of(value(m))) if negated else value

  def _value(self, text: str) -> _Getter:
    """The value of a register, an address or a number."""
    text = text.strip()
    if text.startswith("["):
      parts = [self._value(x) for x in text[1:-1].split("+")]
      if len(parts) == 1:
        return parts[0]
      return lambda m: sum((x(m) for x in parts[1:]), parts[0](m))
    if text.startswith("%"):
      name = text[1:]
      if name[0] not in "sp":
        return _unknown
      return lambda m: m.registers.get(name, UNKNOWN)
    if text.startswith("#"):
      address = self._addresses.get(text[1:], UNKNOWN)
      return lambda m: address
    try:
      number = signed(int(text.removeprefix("$"), 0))
    except ValueError:
      return _unknown
    return lambda m: number


def _unknown(machine: _Machine) -> Any:
  """The value of what is not followed."""
  return UNKNOWN


def _keep(name: str, value: _Getter) -> _Step:
  """Writes a register."""
  return lambda machine: machine.write(name, value(machine))
