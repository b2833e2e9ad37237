"""The schedule of a TPU kernel, read from the text that the compiler dumps.

A TPU issues one bundle of operations a cycle. libtpu writes, for each kernel of
a program, its bundles after register allocation, empty ones for latencies
included; how many operations of each unit are in each; and what is allocated.
"""

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = [
  "DUMPED_PASSES",
  "Operation",
  "Schedule",
  "arguments_of",
  "guard_of",
  "in_order",
  "read_schedule",
]

# The files of the dump that are read. A later schedule, `final_bundles`, has
# the latencies folded away: its length is no count of cycles.
_BUNDLES = "packed-bundles-post-ra"
_TREE = "post-bundle-packing-post-ra"
_UNITS = "pre-delay_hlo-static-per-bundle-utilization"
DUMPED_PASSES = f".*{_BUNDLES}.*|.*{_TREE}.*|.*utilization.*"

_BUNDLE = re.compile(
  r"^\s*(0x[0-9a-f]+|0)\s+(?:(?:LB|LH|LE|PB|PF|CT)\s*)?:[ >]*\{(.*)\}\s*$"
)
_NAMED = re.compile(r"@(\w+)=\s*(%\w+|\[[^\]]*\]|[-\w.$]+)")
_SPAN = re.compile(r"// region range: \[(\d+), (\d+)\)")
_JUMP = re.compile(r"\s*%(\d+) = sbr\.rel")
_ALLOCATION = re.compile(
  r"\s*#(allocation\w+) \[shape = '[^']*', space=(\w+), size = (\w+)"
  r"(?:, offset = (\w+))?(.*)$"
)
_OPERAND = re.compile(
  r"\s*%\w+ = inlined_call_operand\.(\w+|<[^>]*>)"
  r" \[shape: (\w+)\[([\d,]*)\][^,]*, index: (\d+)"
)


class Operation(NamedTuple):
  """One operation of a bundle: ``%result = code text``.

  Args:
    result: the register that it writes, without the per cent sign.
    code: as the dump names it, such as `sadd.s32`.
    text: its operands.
    named: operands that have names, of copies.

  >>> Operation("s3", "sadd.s32", "1, %s2", {}).scalar
  True
  """

  result: str
  code: str
  text: str
  named: Mapping[str, str]

  @property
  def scalar(self) -> bool:
    """Whether it writes a scalar or a predicate register."""
    return self.result[0] in "sp"

  @property
  def target(self) -> int:
    """The bundle that a branch goes to."""
    match = re.search(r"target bundleno = (\d+)", self.text)
    if match is None:
      raise ValueError(f"no branch is {self.text!r}")
    return int(match[1])


class Allocation(NamedTuple):
  """A place in a memory: its address in bytes, None where none is told."""

  space: str
  size: int
  offset: int | None
  fixed: bool
  is_core_index: bool


class Operand(NamedTuple):
  """An array that a kernel is called with, and the memory that it is in."""

  space: str
  dtype: str
  shape: tuple[int, ...]


class Schedule(NamedTuple):
  """The bundles of a kernel, and what they need.

  Args:
    bundles: operations, bundle by bundle: a cycle each.
    units: names of the units of a core.
    capacity: operations that each unit may begin in a cycle.
    used: operations that each unit has in each bundle.
    allocations: places in memories, by name.
    operands: arrays that the kernel is called with, by number.
    delay: bundles after a branch that are issued all the same.

  >>> bundle = [Operation("s1", "sadd.s32", "1, 2", {})]
  >>> len(Schedule([bundle], ["SALU"], [2], [[1]], {}, {}, 0).bundles)
  1
  """

  bundles: list[list[Operation]]
  units: list[str]
  capacity: list[int]
  used: list[list[int]]
  allocations: dict[str, Allocation]
  operands: dict[int, Operand]
  delay: int


def read_schedule(
  files: Sequence[pathlib.Path], kernel: str
) -> Schedule | None:
  """Reads the schedule of a kernel from a dump.

  Args:
    files: of the dump.
    kernel: the name of an instruction of the program.

  Returns:
    The schedule; None where the dump has none of that name.

  Raises:
    ValueError: the text is not as that of libtpu 0.0.52.

  >>> read_schedule([], "fusion.1") is None
  True
  """
  path = _newest(files, kernel, _BUNDLES)
  units = _newest(files, kernel, _UNITS)
  tree = _newest(files, kernel, _TREE)
  if path is None or units is None or tree is None:
    return None

  bundles = _bundles(path)
  lines = units.read_text().split("\n")
  used = [[int(x) for x in line.split()] for line in lines[4:] if line.strip()]
  if len(used) != len(bundles):
    raise ValueError(
      f"{path.name}: {len(bundles)} bundles, but the use of units is told of"
      f" {len(used)}"
    )

  allocations, operands, ends = _tree(tree)
  delays = {
    ends[each.result] - place - 1
    for place, bundle in enumerate(bundles)
    for each in bundle
    if each.code == "sbr.rel" and each.result in ends
  }
  if len(delays) > 1:
    raise ValueError(f"{path.name}: branches have delays of {sorted(delays)}")
  return Schedule(
    bundles,
    [name.strip() for name in lines[1].split(",")],
    [int(x) for x in lines[2].split()],
    used,
    allocations,
    operands,
    max(delays, default=0),
  )


def _newest(
  files: Sequence[pathlib.Path], kernel: str, part: str
) -> pathlib.Path | None:
  """The last file of a kernel and a pass."""
  name = re.compile(rf"\d+-{re.escape(kernel)}-\d+-{re.escape(part)}\.txt$")
  return max((x for x in files if name.match(x.name)), default=None)


def _bundles(path: pathlib.Path) -> list[list[Operation]]:
  """The operations, bundle by bundle."""
  # A comment may hold line breaks and braces. Those that name an operand stay,
  # as `@name=`, and the one that says between which memories a copy is.
  text = path.read_text(errors="replace")
  text = re.sub(r"/\*(\w+)=\*/", r"@\1=", text)
  text = re.sub(r"/\* (\w+)-to-(\w+) \*/", r"@between=\1_to_\2", text)
  text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)

  found: list[list[Operation]] = []
  for line in text.split("\n"):
    match = _BUNDLE.match(line)
    if not match:
      continue
    if int(match[1], 16) != len(found):
      raise ValueError(f"{path.name}: bundle {match[1]} is not {len(found)}")
    parts = [part.strip() for part in match[2].split(" ;;")]
    found.append([_operation(part, path) for part in parts if part])
  return found


def _operation(text: str, path: pathlib.Path) -> Operation:
  """One operation."""
  match = re.match(r"%(\S+) = (\S+)\s*(.*)$", text, re.DOTALL)
  if match is None:
    raise ValueError(f"{path.name}: no operation is {text[:80]!r}")
  named = dict(_NAMED.findall(match[3])) if "@" in match[3] else {}
  return Operation(match[1], match[2], re.sub(r"@\w+=", "", match[3]), named)


def _tree(path: pathlib.Path):
  """(allocations, operands, the ends of regions of branches)."""
  allocations: dict[str, Allocation] = {}
  operands: dict[int, Operand] = {}
  ends: dict[str, int] = {}
  end = 0
  for line in path.read_text(errors="replace").split("\n"):
    if match := _SPAN.search(line):
      end = int(match[2])
    elif match := _JUMP.match(line):
      ends[match[1]] = end  # past the delay
    elif match := _ALLOCATION.match(line):
      name, space, size, offset, rest = match.groups()
      allocations[name] = Allocation(
        space,
        int(size, 0),
        None if offset is None else int(offset, 0),
        "fixed_abs" in rest,
        "core index" in rest,
      )
    elif match := _OPERAND.match(line):
      space, dtype, sizes, number = match.groups()
      shape = tuple(int(x) for x in sizes.split(",") if x)
      operands[int(number)] = Operand(space, dtype, shape)
  return allocations, operands, ends


def guard_of(text: str) -> tuple[str, str] | None:
  """("!" or "", name) of the predicate that a text begins with.

  >>> guard_of("(!%p3) 7"), guard_of("7")
  (('!', 'p3'), None)
  """
  match = re.match(r"\s*(?:\[[a-z]+:[^\]]*\]\s*)?\((!?)%(\w+)\)", text)
  return (match[1], match[2]) if match else None


def in_order(bundle: list[Operation]) -> list[Operation]:
  """The operations of a bundle, those that another one reads before it.

  >>> one = Operation("s1", "sadd.s32", "1, %s2", {})
  >>> [x.result for x in in_order([one, Operation("s2", "smov", "3", {})])]
  ['s2', 's1']
  """
  waiting, found = list(bundle), list[Operation]()
  names = {each.result for each in bundle}
  while waiting:
    ready = [
      x
      for x in waiting
      if not (set(re.findall(r"%(\w+)", x.text)) & names) - {x.result}
    ]
    if not ready:
      return found + waiting
    names -= {x.result for x in ready}
    found += ready
    waiting = [x for x in waiting if x not in ready]
  return found


def arguments_of(text: str) -> list[str]:
  """The parts of a text between commas outside of brackets.

  >>> arguments_of("%s1, [#a + (2, 3)], 4")
  ['%s1', '[#a + (2, 3)]', '4']
  """
  parts, depth = [""], 0
  for letter in text:
    depth += (letter in "([") - (letter in ")]")
    if letter == "," and not depth:
      parts.append("")
    else:
      parts[-1] += letter
  return [part.strip() for part in parts if part.strip()]
