"""The plan of a kernel: its grid, its order, and the program of a tile."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.tiles.flat_programs import (
  CannotLower,
  FlatProgram,
  flat_program,
)
from attnjax.ops.tiles.fold import EMPTY, FULL, Filled, Sweep, part_shape
from attnjax.ops.tiles.kernel_arrays import GivenArray, by_head
from attnjax.ops.tiles.narrowed import narrowed_operands
from attnjax.ops.tiles.plane_program import evaluate
from attnjax.ops.tiles.planes import Adds, Layout, Plane, Whole, scalar
from attnjax.ops.tiles.stacks import Stack
from attnjax.ops.tiles.visits import Held, Visits, held

__all__ = [
  "Plan",
  "block_counts",
  "planned",
  "tile_program",
]

# Queries of a part of a tile that is computed alone.
_PART = 128


class Plan(NamedTuple):
  """All that is known of a kernel before its arrays are.

  Args:
    lead: letters of the grid's axes before the visits, outermost first.
    counts: how many blocks of a visit there are, by letter.
    sizes: how long a tile's part is along an axis, by name.
    macro: tiles of a visit along the queries and along the keys.
    group: query heads that share a key head.
    major: "t" or "s", which the order of visits goes by first.
    layout: of the planes of a tile.
    operands: arrays that are read.
    sums: arrays that are written.
    held: what is held of each.
    columns: which of these are held as columns.
    partial: of which columns the lanes are summed at the end only.
    narrowed: which operands are rounded to bfloat16 before.
    read_singly: which operands are in SMEM, where a kernel reads one number.
    by_position: of which captured operands numbers are looked up by position.
    pairs: blocks of queries and of keys of each visit.
    numbers: of the visits, as `Visits` counts them; -1 is of no tile.
    programs: of a tile, by code.
    patterns: codes of the tiles of visits that have a program of their own;
      None where each tile has one.
    joined: of full tiles of the same queries, side by side: the plan in which
      that many of them are one tile; {} where none are.
    parted: the plan in which a tile is several, of fewer queries each; None
      where it stays one.
    narrow: whether factors of products are rounded to bfloat16.

  Where 4 query heads share a key head, that of query head 6 is the second:

  >>> plan = Plan(*[None] * len(Plan._fields))._replace(group=4)
  >>> plan.block("k", {"h": 6})
  1
  """

  lead: tuple[str, ...]
  counts: dict[str, int]
  sizes: dict[str, int]
  macro: tuple[int, int]
  group: int
  major: str
  layout: Layout
  operands: list[GivenArray]
  sums: list[GivenArray]
  held: list[Held]
  columns: list[bool]
  partial: list[bool]
  narrowed: list[bool]
  read_singly: list[bool]
  by_position: list[bool]
  pairs: np.ndarray
  numbers: np.ndarray
  programs: dict[int, FlatProgram]
  patterns: tuple[tuple[int, ...], ...] | None
  joined: dict[int, "Plan"]
  parted: "Plan | None"
  narrow: bool

  def block(self, letter: str, at: dict):
    """The number of the block along a letter, at a place of the grid."""
    if letter == "k":
      return at["h"] // self.group
    if letter == "g":
      return at["h"] % self.group
    return at.get(letter, 0)

  def is_cut(self, letter: str, of: Held | None) -> bool:
    """Whether blocks of an array, or of what is held, cut such an axis."""
    if letter not in ("t", "s") and not by_head(letter).isalnum():
      return False
    return of is None or set(by_head(letter)) <= set(of.cut)

  def long(self, name: str) -> int:
    """How long the part of a visit is along "t" or "s"."""
    return self.sizes[name] * self.macro[name == "s"]

  def edges(self) -> np.ndarray:
    """First and last of the visits in a row to a block of the major axis."""
    major = self.pairs[:, 0 if self.major == "t" else 1]
    change = np.flatnonzero(major[1:] != major[:-1])
    edges = np.zeros((2, len(major)), np.int32)
    edges[0, [0, *(change + 1)]] = 1
    edges[1, [*change, len(major) - 1]] = 1
    return edges


def planned(
  visits: Visits,
  narrow: bool,
  function: Callable,
  sweep: Sweep,
  operands: list[GivenArray],
  sums: list[GivenArray],
  start: Sequence[Filled],
  adds: bool,
  joins: bool = False,
) -> Plan:
  """The plan of a walk; the arguments are those of `Kernel`.

  Raises:
    CannotLower: naming the part of a tile's function that no kernel can have.
  """
  blocks = sweep.blocks
  if blocks.rows != 1 or blocks.heads != 1:
    raise CannotLower(
      f"tiles of {blocks.rows} batch rows and {blocks.heads} heads: a kernel"
      " takes them one by one"
    )
  counts = block_counts(blocks, [*operands, *sums], visits)
  mapped = sorted(a for a in counts if a.isdigit())

  programs = {
    kind: tile_program(function, sweep, kind, operands, sums, adds)
    for kind in sweep.kinds
    if kind != EMPTY
  }
  sizes = {"t": blocks.query, "s": blocks.key}
  for program in programs.values():
    sizes |= program.sizes

  # Keys in sublanes where sums over queries are made: the matrix products of
  # them then need no transpose.
  over_queries = any("s" in array.axes for array in sums)
  layout = Layout(("s", "t") if over_queries else ("t", "s"), sizes)

  found = []
  for major in "ts":
    holds = [
      held(by_head(array.axes), major, (*mapped, *"bkg"), counts)
      for array in sums
    ]
    size = sum(map(_bytes_held, sums, holds, [sizes] * len(sums)))
    found.append((size, major, holds))
  _, major, holds = min(found, key=lambda x: x[0])
  pairs, numbers = visits.ordered(major, holds, (counts["t"], counts["s"]))

  columns = [
    array.names == layout.order[:1] and layout.order[0] in of.cut
    for array, of in zip(sums, holds, strict=True)
  ]
  plan = Plan(
    lead=(*mapped, "b", "h"),
    counts=counts,
    sizes=sizes,
    macro=visits.macro,
    group=blocks.group,
    major=major,
    layout=layout,
    operands=operands,
    sums=sums,
    held=holds,
    columns=columns,
    partial=[
      column and not filled.value and jnp.issubdtype(filled.dtype, jnp.floating)
      for column, filled in zip(columns, start, strict=True)
    ],
    narrowed=narrowed_operands(operands, programs, narrow),
    read_singly=[array.in_smem for array in operands],
    by_position=[False] * len(operands),
    pairs=pairs,
    numbers=numbers,
    programs=programs,
    patterns=visits.patterns,
    joined={},
    parted=None,
    narrow=narrow,
  )
  # A function that was transposed is of parts of one size.
  if joins and not adds:
    resized = lambda *of: _resized(plan, function, sweep, *of)
    plan = plan._replace(
      joined={
        count: resized((blocks.query, blocks.key * count), (FULL,))
        for count in range(2, visits.macro[1] + 1)
        if not visits.macro[1] % count and FULL in programs
      },
      parted=resized((_PART, blocks.key), tuple(programs))
      if blocks.query > _PART and not blocks.query % _PART
      else None,
    )
  return _tried(plan, adds)


def _resized(
  plan: Plan,
  function: Callable,
  sweep: Sweep,
  size: tuple[int, int],
  kinds: Sequence[int],
) -> Plan:
  """The plan with tiles of another size, in the same visits."""
  blocks = sweep.blocks._replace(query=size[0], key=size[1])
  programs = {
    kind: tile_program(
      function,
      sweep._replace(blocks=blocks),
      kind,
      plan.operands,
      plan.sums,
      adds=False,
    )
    for kind in kinds
  }
  sizes = dict(plan.sizes)
  for program in programs.values():
    sizes |= program.sizes
  sizes |= {"t": size[0], "s": size[1]}
  return plan._replace(
    sizes=sizes,
    macro=(plan.long("t") // size[0], plan.long("s") // size[1]),
    layout=plan.layout._replace(sizes=sizes),
    programs=programs,
  )


def block_counts(
  blocks, arrays: Sequence[GivenArray], visits
) -> dict[str, int]:
  """How many blocks of a visit there are along each letter."""
  sizes: dict[str, int] = {}
  for array in arrays:
    for letter, n in zip(array.axes, array.shape, strict=bool(array.axes)):
      sizes[letter] = max(sizes.get(letter, 1), n)
  heads = max(sizes.get("h", 1), sizes.get("k", 1) * blocks.group)
  last = np.array(visits.pairs, int).reshape(-1, 2).max(0, initial=-1) + 1

  long = [n * m for n, m in zip(blocks[2:4], visits.macro, strict=True)]
  return {a: n for a, n in sizes.items() if a.isdigit()} | {
    "b": max(sizes.get("b", 1), visits.rows),
    "h": heads,
    "k": heads // blocks.group,
    "g": blocks.group,
    "t": max(sizes.get("t", 0) // long[0], int(last[0])),
    "s": max(sizes.get("s", 0) // long[1], int(last[1])),
  }


def tile_program(function, sweep: Sweep, kind: int, given, sums, adds: bool):
  """The flat program of a tile of one kind."""
  number = jax.ShapeDtypeStruct((), jnp.int32)
  arrays = [*given, *([] if adds else sums)]
  parts = [
    jax.ShapeDtypeStruct(part_shape(x.shape, x.axes, sweep.blocks), x.dtype)
    for x in arrays
  ]
  letters: list = [
    [a for a in x.axes if not a.isdigit()] if x.axes else "." * len(x.shape)
    for x in arrays
  ]

  def flat(*xs):
    tile, parts = xs[:4], xs[4:]
    if adds:
      return list(function(kind == FULL, tile, *parts))
    state = list(parts[len(given) :])
    return list(function(kind == FULL, tile, list(parts[: len(given)]), state))

  return flat_program(flat, [number] * 4 + parts, [(), (), (), (), *letters])


def _bytes_held(array: GivenArray, of: Held, sizes: dict[str, int]) -> int:
  """Bytes of VMEM of what is held of a sum."""
  if array.in_smem:
    return 0
  count = array.dtype.itemsize
  for d, a in array.inner:
    count *= sizes[a] if a in of.cut and a in "ts" else array.shape[d]
  for a, n in array.lead:
    count *= 1 if set(by_head(a)) <= set(of.cut) else n
  return count


def _tried(plan: Plan, adds: bool) -> Plan:
  """The plan after its programs were evaluated once, of nothing.

  Columns stay partial sums in lanes if they are it after a tile too; else their
  lanes would be summed at each tile, which is to be spared. And captured arrays
  are where they are looked up: one number of SMEM, many of VMEM.
  """
  captured = [array.whole is not None for array in plan.operands]
  if not any(plan.partial) and not any(captured):
    return plan
  uses: list[set[bool]] = [set() for _ in plan.operands]

  def run(program, plan):
    given = [
      _example(plan, x, False, used)
      for x, used in zip(plan.operands, uses, strict=True)
    ]
    state = [
      _example(plan, x, partial, set())
      for x, partial in zip(plan.sums, plan.partial, strict=True)
    ]
    tile = [scalar(jnp.int32(0), jnp.int32)] * 4
    arguments = [*tile, *given, *([] if adds else state)]
    new = evaluate(program, plan.layout, arguments, plan.narrow)
    for x in new:  # what is added later reads too
      for first, _, number in x.loops if isinstance(x, Adds) else ():
        number(first)
      if isinstance(x, Stack):
        x.read(jnp.int32(0))
    return [isinstance(x, Plane) and x.partial for x in new]

  found = plan.partial
  others = [*plan.joined.values(), *([plan.parted] if plan.parted else [])]
  for own in (plan, *others):
    for program in own.programs.values():
      kept: list[bool] = []
      jax.eval_shape(
        lambda program=program, own=own, kept=kept: kept.extend(
          run(program, own)
        )
      )
      found = [a and b for a, b in zip(found, kept, strict=True)]
  tried: dict[str, Any] = {
    "partial": found,
    "read_singly": [
      array.in_smem and (not whole or False in used)
      for array, whole, used in zip(plan.operands, captured, uses, strict=True)
    ],
    "by_position": [True in used for used in uses],
  }
  return plan._replace(
    joined={n: x._replace(**tried) for n, x in plan.joined.items()},
    parted=plan.parted and plan.parted._replace(**tried),
    **tried,
  )


def _example(plan: Plan, array: GivenArray, partial: bool, used: set[bool]):
  """A plane, or captured array, of the form of an array's part.

  Args:
    plan: of the kernel.
    array: that it is of.
    partial: whether it is a column of partial sums.
    used: whether a captured array is looked up by position: what is done with
      the example is added.
  """
  if array.whole is not None:
    shape = array.shape[len(array.lead) :]

    def read(at: Plane) -> Plane:
      used.add(bool(at.axes))
      sub, lane = at.sub, at.lane
      vector = (sub is None) != (lane is None)
      held = jnp.int32 if array.dtype == bool and vector else array.dtype
      return Plane(jnp.zeros(jnp.shape(at.array), held), sub, lane, array.dtype)

    return Whole(read, shape, array.dtype)
  if array.in_smem:
    return scalar(jnp.zeros((), array.dtype), array.dtype)
  sub: str | None
  lane: str | None
  sub, lane = array.names if len(array.names) == 2 else (None, array.names[0])
  if partial:
    sub, lane = lane, None
  narrow = jnp.int32 if array.dtype == bool and sub is None else array.dtype
  zeros = jnp.zeros(plan.layout.shape(sub, lane), narrow)
  return Plane(zeros, sub, lane, array.dtype, partial)
