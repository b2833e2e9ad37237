"""Collectives of a compiled program: their bytes by kind and mesh axis."""

import dataclasses
import math
import re

import numpy as np
from jax.sharding import Mesh

from attnjax.plan.hlo import Computation, Instruction, Program

__all__ = ["Collective", "collectives", "groups_of"]

KINDS = (
  "all-gather",
  "all-reduce",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
  "collective-broadcast",
  "ragged-all-to-all",
)
# The four ways in which XLA writes which devices take part:
# `replica_groups={{0,1},{2,3}}`
_LISTED = re.compile(r"replica_groups=\{(\{[\d,{}]*\})\}")
# `replica_groups=[2,4]<=[4,2]T(1,0)`: an iota of shape [4,2], transposed by
# (1,0) and reshaped to [2,4], a group a row
_IOTA = re.compile(
  r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?"
)
# `replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}`: groups
# along named axes of a mesh
_NAMED = re.compile(
  r"replica_groups=mesh\[([^\]]*)\]"
  r"(?:, device_ids=\((?:\[([\d,]+)\](?:T\(([\d,]+)\))?|([\d,]+))\))?"
  r" \{([^}]*)\}"
)
# `source_target_pairs={{0,1},{1,0}}`
_PAIRS = re.compile(r"source_target_pairs=\{(\{[\d,{}]*\})\}")


@dataclasses.dataclass(frozen=True)
class Collective:
  """All exchanges of one kind along the same mesh axes in one step.

  Args:
    kind: `all-reduce`, `all-gather`...
    axes: mesh axes along which the members of a group differ.
    size: devices in a group.
    count: exchanges a step.
    bytes: size of the results on a device, summed over the exchanges; of a
      reduce-scatter, size of its operands.
    sent: least bytes that a device sends, with a ring algorithm.

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
  """Collectives of a program, those that send most first.

  Args:
    program: from `read_program`, compiled for the mesh.
    mesh: whose axes the groups of devices are named after.

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
    if kind not in KINDS:
      continue

    # A TPU hides one exchange behind several kernels, each of which has a part
    # of it under the same channel: only the first is counted.
    channel = re.search(r"channel_id=(\d+)", instruction.rest)
    if computation.fused and channel is not None:
      if (kind, channel[1]) in seen:
        continue
      seen.add((kind, channel[1]))

    axes, size = _axes_of(instruction, mesh)
    payload, sent = _payload(kind, size, instruction, computation)
    key = (kind, axes, size)
    known = found.get(key, Collective(kind, axes, size, 0.0, 0.0, 0.0))
    found[key] = dataclasses.replace(
      known,
      count=known.count + computation.runs,
      bytes=known.bytes + payload * computation.runs,
      sent=known.sent + sent * computation.runs,
    )

  return sorted(found.values(), key=lambda each: -each.sent)


def _payload(
  kind: str, size: int, instruction: Instruction, computation: Computation
) -> tuple[float, float]:
  """(bytes, sent) of one exchange, as `Collective` defines them."""
  made = computation.instructions
  given = sum(made[name].bytes for name in instruction.operands if name in made)
  result = float(instruction.bytes)
  if instruction.opcode.endswith("-start"):
    # The result of an asynchronous start is a tuple of operand, destination
    # and more: the size of the destination follows from the operand's.
    result = float(given * size if kind == "all-gather" else given)

  payload = float(given) if kind == "reduce-scatter" else result
  share = (size - 1) / size if size else 0.0
  # A ring all-reduce is a reduce-scatter and then an all-gather.
  ring = {"all-reduce": 2 * share, "collective-permute": 1.0}
  return payload, payload * ring.get(kind, share)


def _axes_of(
  instruction: Instruction, mesh: Mesh
) -> tuple[tuple[str, ...], int]:
  """(mesh axes along which the members of a group differ, group size)."""
  groups = groups_of(instruction.rest, mesh.size)
  places = np.stack(
    np.unravel_index(groups, tuple(mesh.shape.values())), axis=-1
  )
  differ = (places != places[:, :1]).any(axis=(0, 1))
  axes = tuple(np.array(mesh.axis_names)[differ].tolist())

  if "source_target_pairs" in instruction.rest:
    # Pairs do not tell how long their ring is: it is taken to fill the axes.
    return axes, math.prod(mesh.shape[axis] for axis in axes)
  return axes, groups.shape[1]


def groups_of(text: str, devices: int) -> np.ndarray:
  """Device groups of a collective: integer array of shape (groups, members).

  Args:
    text: attributes of an instruction, with the groups in any of XLA's
      notations.
    devices: of the whole mesh; where no group is written, it is one group.

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
  if match := _IOTA.search(text):
    return _transposed_iota(match[2], match[3]).reshape(numbers(match[1]))
  if match := _NAMED.search(text):
    return _named_groups(match)
  return np.arange(devices).reshape(1, -1)


def _transposed_iota(sizes: str, order: str | None) -> np.ndarray:
  """Device numbers 0, 1... in a grid of some sizes, transposed, then flat."""
  shape = [int(size) for size in sizes.split(",")]
  grid = np.arange(math.prod(shape)).reshape(shape)
  if order:
    grid = grid.transpose([int(axis) for axis in order.split(",")])
  return grid.reshape(-1)


def _named_groups(match: re.Match) -> np.ndarray:
  """Device groups along named mesh axes, or along a part of an axis.

  `'a':(2)4` is the part of size 4 of axis `a` that has a factor of 2 before it:
  the axis is split into (2, 4, rest).
  """
  sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
  said = re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", match[5])
  parts = {name: (before, size) for name, before, size in said}

  # The mesh as a grid, axes split into their parts, and which of its axes the
  # members of a group differ along.
  shape: list[int] = []
  moved: list[int] = []
  for name, size in sizes.items():
    before, inside = parts.get(name, ("", ""))
    split = [int(size)]
    if inside:
      outer = int(before) * int(inside)
      split = [int(before), int(inside), int(size) // outer]
    if name in parts:
      moved.append(len(shape) + (1 if inside else 0))
    shape += split

  ids = np.arange(math.prod(shape))
  if match[2]:
    ids = _transposed_iota(match[2], match[3])
  elif match[4]:
    ids = np.array([int(x) for x in match[4].split(",")])

  last = tuple(range(-len(moved), 0))
  members = math.prod(shape[axis] for axis in moved)
  grid = np.moveaxis(ids.reshape(shape), moved, last)
  return grid.reshape(-1, members)
