"""`fold` and `tile_sum` as a Pallas kernel for TPUs: one grid, one program.

The grid is (mapped axes, batch rows, heads, visits). Tables in SMEM, fetched
before the kernel starts, say which blocks each visit is of, and whether its
tiles are empty, mixed or full.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from attnjax.ops.shard_map_axes import varying_axes, varying_struct
from attnjax.ops.tiles.flat_programs import CannotLower, is_zero
from attnjax.ops.tiles.fold import FULL, Filled, Subscripts, Sweep
from attnjax.ops.tiles.kernel_arrays import GivenArray
from attnjax.ops.tiles.kernel_estimate import estimate
from attnjax.ops.tiles.kernel_plan import Plan, planned
from attnjax.ops.tiles.plane_program import started
from attnjax.ops.tiles.planes import (
  LANES,
  Adds,
  Plane,
  Whole,
  as_partial,
  scalar,
  summed,
)
from attnjax.ops.tiles.visits import Held
from attnjax.ops.tiles.vmem import check_vmem

__all__ = ["walk"]


def walk(
  kernel,
  function: Callable,
  sweep: Sweep,
  operands: Sequence,
  subscripts: Sequence[Subscripts],
  start: Sequence[Filled],
  start_subscripts: Sequence[Subscripts],
  *,
  adds: bool,
) -> list[jax.Array]:
  """The arrays after the last tile; see `attnjax.ops.tiles.kernel.Kernel`."""
  visits = kernel.visits
  if not visits.pairs:
    return [x.made() for x in start]
  given = [
    GivenArray.of(jnp.shape(x), jnp.result_type(x), axes)
    for x, axes in zip(operands, subscripts, strict=True)
  ]
  sums = [
    GivenArray.of(x.shape, x.dtype, axes)
    for x, axes in zip(start, start_subscripts, strict=True)
  ]
  plan = planned(
    visits, kernel.narrow, function, sweep, given, sums, start, adds
  )

  codes = visits.table(sweep.codes, plan.numbers, plan.counts["b"])
  tables = [
    jnp.asarray(plan.pairs.T.reshape(-1), jnp.int32),
    jnp.asarray(plan.edges().reshape(-1), jnp.int32),
    codes.reshape(-1),
  ]
  arrays = []
  for x, array, narrow in zip(operands, given, plan.narrowed, strict=True):
    x = array.give(jnp.asarray(x))
    arrays.append(x.astype(jnp.bfloat16) if narrow else x)

  in_specs = [_spec(plan, array, None) for array in given]
  out_specs = [_spec(plan, *of) for of in zip(sums, plan.held, strict=True)]
  scratch = [
    pltpu.VMEM((plan.long(array.names[0]), LANES), array.dtype)
    for array, column in zip(sums, plan.columns, strict=True)
    if column
  ]
  varying = varying_axes(*arrays)
  outs = [varying_struct(x.given, _dtype(x), varying) for x in sums]
  check_vmem(kernel.limit, arrays, in_specs, outs, out_specs, scratch)

  body = functools.partial(_Visit, plan, start, adds, codes.shape)
  found = pl.pallas_call(
    lambda *refs: body(refs).run(),
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=len(tables),
      grid=(*(plan.counts[a] for a in plan.lead), len(plan.pairs)),
      in_specs=in_specs,
      out_specs=out_specs,
      scratch_shapes=scratch,
    ),
    out_shape=outs,
    cost_estimate=estimate(plan, visits),
    interpret=kernel.interpret,
    name="attnjax_sum" if adds else "attnjax_fold",
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=_semantics(plan), vmem_limit_bytes=kernel.limit
    ),
  )(*tables, *arrays)
  return [array.taken(x) for array, x in zip(sums, found, strict=True)]


def _semantics(plan: Plan) -> tuple:
  """Which axes of the grid two cores may share: where no sum meets itself."""
  # Query heads of a group meet in sums over keys, and all heads in SMEM.
  alone = not any(x.in_smem for x in plan.sums)
  over = {a for of in plan.held for a in of.over}
  free = {
    "b": alone and "b" not in over,
    "h": alone and not over & set("kg"),
  }
  names = [
    "parallel" if free.get(a, alone and a not in over) else "arbitrary"
    for a in plan.lead
  ]
  return (*names, "arbitrary")


def _dtype(array: GivenArray):
  """The dtype in which the kernel has a sum: SMEM has numbers of 32 bits."""
  wide = array.in_smem and array.dtype.itemsize < 4
  return jnp.dtype(jnp.float32) if wide else array.dtype


def _spec(plan: Plan, array: GivenArray, of: Held | None):
  """Which part of an array a visit has; of a sum, which is held."""
  if array.in_smem:
    return pl.BlockSpec(memory_space=pltpu.SMEM)
  shape = [1 if plan.is_cut(a, of) else n for a, n in array.lead]
  shape += [1] * (2 - len(array.inner))
  shape += [
    plan.long(a) if plan.is_cut(a, of) else array.shape[d]
    for d, a in array.inner
  ]
  visits = len(plan.pairs)

  def place(*ids):
    *grid, n, pairs, _, _ = ids
    at = dict(zip(plan.lead, grid, strict=True))
    at |= {"t": pairs[n], "s": pairs[visits + n]}
    found = [
      plan.block(a, at) if plan.is_cut(a, of) and size > 1 else 0
      for a, size in array.lead
    ]
    found += [0] * (2 - len(array.inner))
    found += [at[a] if plan.is_cut(a, of) else 0 for _, a in array.inner]
    return tuple(found)

  return pl.BlockSpec(tuple(shape), place)


class _Visit:
  """The kernel: one visit, of refs to all arrays."""

  def __init__(self, plan: Plan, start, adds: bool, codes_shape, refs):
    """Where the visit is, and which ref is what."""
    (pairs, self.edges, codes), refs = refs[:3], refs[3:]
    count, sums = len(plan.operands), len(plan.sums)
    self.plan, self.start, self.adds = plan, start, adds
    self.operands, self.outs = refs[:count], refs[count : count + sums]
    scratch = iter(refs[count + sums :])
    self.places = [
      next(scratch) if column else out
      for column, out in zip(plan.columns, self.outs, strict=True)
    ]

    ids = [pl.program_id(axis) for axis in range(len(plan.lead) + 1)]
    self.n, self.visits = ids[-1], len(plan.pairs)
    self.at = dict(zip(plan.lead, ids[:-1], strict=True))
    self.at |= {"t": pairs[self.n], "s": pairs[self.visits + self.n]}
    rows, visits, each = codes_shape
    first = self.n * each
    if rows > 1:
      first = first + self.at["b"] * (visits * each)
    self.code = lambda k: codes[first + k]

  def run(self) -> None:
    """Clears what is new, adds the tiles, and writes what is done."""
    plan = self.plan
    for k, (array, of) in enumerate(zip(plan.sums, plan.held, strict=True)):
      every = Held("", "".join(a for a in plan.lead if a != "h") + "kgts")
      first = self._on_edge(every if array.in_smem else of, last=False)
      pl.when(first)(functools.partial(self._clear, k))

    tiles = [(t, s) for s in range(plan.macro[1]) for t in range(plan.macro[0])]
    together = len(tiles) > 1 and FULL in plan.programs
    is_full = self.code(0) == FULL
    if together:
      # Without branches between them, the compiler orders the operations of
      # all tiles as one program.
      pl.when(is_full)(functools.partial(self._tiles, FULL, tiles))
    for tile in tiles:
      code = self.code(1 + tile[0] * plan.macro[1] + tile[1])
      for kind in plan.programs:
        met = code == kind
        if together and kind == FULL:
          met = met & ~is_full
        pl.when(met)(functools.partial(self._tiles, kind, [tile]))

    for k, of in enumerate(plan.held):
      if plan.columns[k]:
        last = self._on_edge(of, last=True)
        pl.when(last)(functools.partial(self._write_row, k))

  def _on_edge(self, of: Held, *, last: bool):
    """Whether this visit is the first, or the last, to what is held."""
    plan, met = self.plan, jnp.bool_(True)
    for a in (*(a for a in plan.lead if a not in "bh"), "b", "k", "g"):
      if a in of.over and plan.counts[a] > 1:
        end = plan.counts[a] - 1 if last else 0
        met = met & (plan.block(a, self.at) == end)
    if plan.major in of.over:
      return met & (self.n == (self.visits - 1 if last else 0))
    if of.over:
      return met & (self.edges[self.visits * last + self.n] == 1)
    return met

  def _clear(self, k: int) -> None:
    """What a sum begins with."""
    ref, value = self.places[k], self.start[k].value
    if not self.plan.sums[k].in_smem:
      ref[...] = jnp.full(ref.shape, value, ref.dtype)
      return

    def clear(place, _):
      ref[place] = jnp.asarray(value, ref.dtype)

    jax.lax.fori_loop(0, ref.shape[0], clear, None)

  def _write_row(self, k: int) -> None:
    """A column, as the row that is written."""
    out, plan = self.outs[k], self.plan
    column = Plane(
      self.places[k][...], "", None, out.dtype, partial=plan.partial[k]
    )
    out[(0,) * (len(out.shape) - 2)] = summed(column).array.T[:1]

  def _tiles(self, kind: int, tiles: list) -> None:
    """Adds some tiles of one kind, all in one program."""
    plan = self.plan
    held: dict = {}
    waiting: Callable = lambda: None
    for tile in tiles:
      rest = started(
        plan.programs[kind],
        plan.layout,
        self._arguments(tile, held),
        plan.narrow,
      )
      waiting()
      waiting = functools.partial(self._finish, tile, rest, held)
    waiting()
    for (k, *_), (slot, x) in held.items():
      self.places[k][slot] = x

  def _finish(self, tile, rest: Callable, held: dict) -> None:
    """Ends a tile that was begun, and keeps what it adds to."""
    for k, x in enumerate(rest()):
      self._keep(k, tile, x, held)

  def _arguments(self, tile, held: dict) -> list:
    """The arguments of a tile's program: its numbers, and its parts."""
    plan, at = self.plan, self.at
    t, s = (
      at[a] * size + k
      for a, size, k in zip("ts", plan.macro, tile, strict=True)
    )
    found: list = [scalar(x, jnp.int32) for x in (at["b"], at["h"], t, s)]
    found += [
      functools.partial(self._read, k, tile) for k in range(len(plan.operands))
    ]
    if not self.adds:
      found += [
        functools.partial(self._held, k, tile, held)
        for k in range(len(plan.sums))
      ]
    return found

  def _read(self, k: int, tile):
    """The part of an operand, as a plane."""
    array, ref = self.plan.operands[k], self.operands[k]
    if array.in_smem:
      first = self._flat(array)
      number = lambda place: (
        ref[first + place] != 0
        if array.dtype == bool
        else ref[first + place].astype(array.dtype)
      )
      if array.whole is None:
        return scalar(number(0), array.dtype)
      return Whole(number, array.shape[len(array.lead) :], array.dtype)

    slot: list[Any] = [0] * len(array.lead)
    slot += [slice(None)] * (2 - len(array.inner))
    slot += [self._within(a, tile) for _, a in array.inner]
    x, matrix = ref[tuple(slot)], len(array.inner) == 2
    if array.dtype == bool:
      x = x.astype(jnp.int32)
      x = x != 0 if matrix else x
    sub, lane = array.names if matrix else (None, *array.names)
    return Plane(x, sub, lane, array.dtype)

  def _within(self, a: str, tile):
    """The part of a tile within the block of a visit."""
    if a not in ("t", "s") or self.plan.macro[a == "s"] == 1:
      return slice(None)
    size = self.plan.sizes[a]
    return pl.ds(tile[a == "s"] * size, size)

  def _flat(self, array: GivenArray):
    """Where what a visit has of an array in SMEM begins."""
    found: Any = 0
    for a, size in array.lead:
      found = found * size + (self.plan.block(a, self.at) if size > 1 else 0)
    return found * (array.whole or 1)

  def _slot(self, k: int, tile) -> tuple:
    """Where, in what is held of a sum, the part of a tile is."""
    plan, array, of = self.plan, self.plan.sums[k], self.plan.held[k]
    if plan.columns[k]:
      return (self._within(array.names[0], tile), slice(None))
    slot: list[Any] = [
      0 if plan.is_cut(a, of) or n == 1 else plan.block(a, self.at)
      for a, n in array.lead
    ]
    slot += [slice(None)] * (2 - len(array.inner))
    for _, a in array.inner:
      if a not in ("t", "s") or plan.is_cut(a, of):
        slot.append(self._within(a, tile))
      else:
        size = plan.sizes[a]
        block = self.at[a] * plan.macro[a == "s"] + tile[a == "s"]
        slot.append(pl.ds(pl.multiple_of(block * size, size), size))
    return tuple(slot)

  def _form(self, k: int) -> tuple[str | None, str | None]:
    """Names of the axes in sublanes and lanes of what is held of a sum."""
    names = self.plan.sums[k].names
    if len(names) == 2:
      return names[0], names[1]
    return (names[0], None) if self.plan.columns[k] else (None, names[0])

  def _key(self, k: int, tile) -> tuple:
    """Which part of a sum a tile adds to, of all tiles of a visit."""
    names = self.plan.sums[k].names
    return k, *(n if a in names else 0 for a, n in zip("ts", tile, strict=True))

  def _held(self, k: int, tile, held: dict) -> Plane:
    """What is held of a sum where a tile adds."""
    array, plan = self.plan.sums[k], self.plan
    if array.in_smem:
      raise CannotLower("a state of single numbers, which a tile replaces")
    key = self._key(k, tile)
    x = held[key][1] if key in held else self.places[k][self._slot(k, tile)]
    return Plane(x, *self._form(k), array.dtype, partial=plan.partial[k])

  def _keep(self, k: int, tile, x, held: dict) -> None:
    """Keeps what a tile returned, or what it is with what is held."""
    plan, array = self.plan, self.plan.sums[k]
    if array.in_smem:
      self._add_numbers(k, x)
      return
    sub, lane = self._form(k)
    if not (x.partial and plan.partial[k]):
      x = Plane(plan.layout.held(x, sub, lane), sub, lane, x.dtype)
    if plan.partial[k]:
      x = as_partial(x)
    new = x.array.astype(array.dtype)
    if self.adds:
      new = self._held(k, tile, held).array + new
    held[self._key(k, tile)] = self._slot(k, tile), new

  def _add_numbers(self, k: int, x) -> None:
    """Adds single numbers to a sum in SMEM."""
    array, ref = self.plan.sums[k], self.places[k]
    if isinstance(x, Plane) and (x.axes or array.whole is not None):
      if is_zero(x.array):
        return
      raise CannotLower("a sum of whole arrays, but for single numbers")
    first = self._flat(array)
    for place, number in x.numbers if isinstance(x, Adds) else [(0, x.array)]:
      at = first + place
      ref[at] = ref[at] + jnp.asarray(number).astype(ref.dtype)
