"""What devices tell each other: bytes of every collective, by kind and axis."""

import dataclasses
import math
import re

import numpy as np
from jax.sharding import Mesh

from attnjax.plan.hlo import Program
from attnjax.plan.hlo_text import Computation, Instruction

__all__ = ["Collective", "collectives"]

KINDS = (
  "all-gather",
  "all-reduce",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
  "collective-broadcast",
  "ragged-all-to-all",
)
_LISTED = re.compile(r"replica_groups=\{(\{[\d,{}]*\})\}")
_COUNTED = re.compile(
  r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?"
)
_NAMED = re.compile(
  r"replica_groups=mesh\[([^\]]*)\]"
  r"(?:, device_ids=\((?:\[([\d,]+)\](?:T\(([\d,]+)\))?|([\d,]+))\))?"
  r" \{([^}]*)\}"
)
_PAIRS = re.compile(r"source_target_pairs=\{(\{[\d,{}]*\})\}")


@dataclasses.dataclass(frozen=True)
class Collective:
  """One kind of exchange along some axes of the mesh, in one step.

  Args:
    kind: `all-reduce`, `all-gather`...
    axes: of the mesh, along which the members of a group differ.
    size: devices in a group.
    count: how often a step does it.
    bytes: what a device ends with, summed: of a reduction what it began with.
    sent: what a device sends, at least, around a ring.

  >>> Collective("all-gather", ("fsdp",), 4, 96.0, 400.0, 300.0).size
  4
  """

  kind: str
  axes: tuple[str, ...]
  size: int
  count: float
  bytes: float
  sent: float


def collectives(program: Program, mesh: Mesh) -> list[Collective]:
  """Every exchange of a program, the most bytes first.

  Args:
    program: from `read_program`, compiled for the mesh.
    mesh: whose axes the groups are read along.

  >>> import jax, jax.numpy as jnp
  >>> from jax.sharding import NamedSharding, PartitionSpec
  >>> from attnjax.plan.hlo import read_program
  >>> mesh = jax.make_mesh((2, 4), ("data", "tensor"),
  ...                      (jax.sharding.AxisType.Auto,) * 2)
  >>> place = NamedSharding(mesh, PartitionSpec("tensor"))
  >>> x = jax.ShapeDtypeStruct((8, 3), "float32", sharding=place)
  >>> text = jax.jit(lambda x: x.sum(0)).lower(x).compile().as_text()
  >>> [(c.kind, c.axes, c.bytes) for c in collectives(read_program(text), mesh)]
  [('all-reduce', ('tensor',), 12.0)]
  """
  found: dict[tuple, Collective] = {}
  seen: set[tuple[str, str]] = set()
  for computation, instruction in program.walk():
    kind = instruction.opcode.removesuffix("-start")
    if kind not in KINDS or _again(instruction, computation, seen):
      continue
    axes, size = _group(instruction, mesh)
    one = _one(kind, axes, size, instruction, computation)
    key = (kind, axes, size)
    known = found.get(key, Collective(kind, axes, size, 0.0, 0.0, 0.0))
    found[key] = dataclasses.replace(
      known,
      count=known.count + one.count,
      bytes=known.bytes + one.bytes,
      sent=known.sent + one.sent,
    )
  return sorted(found.values(), key=lambda each: -each.sent)


def _again(
  instruction: Instruction, computation: Computation, seen: set
) -> bool:
  """Whether it is a further part of an exchange that was counted.

  A TPU hides an exchange behind several kernels, and each has a part of it:
  the same channel, and so the same exchange.
  """
  channel = re.search(r"channel_id=(\d+)", instruction.rest)
  if not computation.fused or channel is None:
    return False
  key = (instruction.opcode.removesuffix("-start"), channel[1])
  again = key in seen
  seen.add(key)
  return again


def _one(
  kind: str,
  axes: tuple[str, ...],
  size: int,
  instruction: Instruction,
  computation: Computation,
) -> Collective:
  """A collective of one instruction."""
  made = computation.instructions
  given = sum(made[name].bytes for name in instruction.operands if name in made)
  result = float(instruction.bytes)
  if instruction.opcode.endswith("-start"):
    # It makes a tuple: what it was given, what it will give, and more.
    result = float(given * size if kind == "all-gather" else given)
    result = given / size if kind == "reduce-scatter" else result
  payload = float(given) if kind == "reduce-scatter" else result
  share = (size - 1) / size if size else 0.0
  around = {"all-reduce": 2 * share, "collective-permute": 1.0}
  runs = computation.runs
  return Collective(
    kind,
    axes,
    size,
    runs,
    payload * runs,
    payload * around.get(kind, share) * runs,
  )


def _group(instruction: Instruction, mesh: Mesh) -> tuple[tuple[str, ...], int]:
  """The axes along which a group's members differ, and how many they are."""
  groups = groups_of(instruction.rest, mesh.size)
  places = np.stack(
    np.unravel_index(groups, tuple(mesh.shape.values())), axis=-1
  )
  differ = (places != places[:, :1]).any(axis=(0, 1))
  axes = tuple(np.array(mesh.axis_names)[differ].tolist())
  if "source_target_pairs" in instruction.rest:
    # Pairs are all that is said; the ring they make is as long as the axes.
    return axes, math.prod(mesh.shape[axis] for axis in axes)
  return axes, groups.shape[1]


def groups_of(text: str, devices: int) -> np.ndarray:
  """The devices of each group of a collective, one group a row.

  Args:
    text: attributes of an instruction, in any of the ways XLA writes groups.
    devices: of the whole mesh; a group that is not written has them all.

  >>> groups_of("replica_groups={{0,1},{2,3}}", 4).tolist()
  [[0, 1], [2, 3]]
  >>> groups_of("replica_groups=[2,4]<=[4,2]T(1,0)", 8).tolist()
  [[0, 2, 4, 6], [1, 3, 5, 7]]
  >>> groups_of("replica_groups=mesh['a'=2,'b'=3] {'a'}", 6).tolist()
  [[0, 3], [1, 4], [2, 5]]
  """
  numbers = lambda part: [int(x) for x in part.split(",") if x]
  if match := _LISTED.search(text) or _PAIRS.search(text):
    rows = re.findall(r"\{([\d,]*)\}", match[1])
    return np.array([numbers(row) for row in rows if row])
  if match := _COUNTED.search(text):
    return _counted(match[2], match[3]).reshape(numbers(match[1]))
  if match := _NAMED.search(text):
    return _named(match)
  return np.arange(devices).reshape(1, -1)


def _counted(sizes: str, order: str | None) -> np.ndarray:
  """Numbers of devices in a grid of some sizes, its axes in another order."""
  shape = [int(size) for size in sizes.split(",")]
  grid = np.arange(math.prod(shape)).reshape(shape)
  if order:
    grid = grid.transpose([int(axis) for axis in order.split(",")])
  return grid.reshape(-1)


def _named(match: re.Match) -> np.ndarray:
  """Groups along named axes of a mesh, or along a part of an axis.

  A part is written `'a':(2)4`: 4 steps of an axis of which 2 come before.
  """
  sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
  shape: list[int] = []
  moved: list[int] = []
  said = re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", match[5])
  parts = {name: (before, size) for name, before, size in said}
  for name, size in sizes.items():
    before, inside = parts.get(name, ("", ""))
    whole = [int(size)]
    if inside:
      outer = int(before) * int(inside)
      whole = [int(before), int(inside), int(size) // outer]
    if name in parts:
      moved.append(len(shape) + (1 if inside else 0))
    shape += whole
  total = math.prod(shape)
  ids = np.arange(total)
  if match[2]:
    ids = _counted(match[2], match[3])
  elif match[4]:
    ids = np.array([int(x) for x in match[4].split(",")])
  last = tuple(range(-len(moved), 0))
  members = math.prod(shape[axis] for axis in moved)
  grid = np.moveaxis(ids.reshape(shape), moved, last)
  return grid.reshape(-1, members)
