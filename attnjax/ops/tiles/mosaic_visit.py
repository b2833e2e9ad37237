"""One visit of a kernel for TPUs: what is read, computed, and written."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from attnjax.ops.tiles.flat_programs import CannotLower, is_zero
from attnjax.ops.tiles.fold import EMPTY, FULL
from attnjax.ops.tiles.kernel_arrays import GivenArray
from attnjax.ops.tiles.kernel_plan import Plan
from attnjax.ops.tiles.plane_program import started
from attnjax.ops.tiles.planes import (
  Adds,
  Plane,
  Whole,
  as_partial,
  row_of,
  scalar,
)
from attnjax.ops.tiles.stacks import Stack, stacked
from attnjax.ops.tiles.strips import numbers_at
from attnjax.ops.tiles.visits import FIRST_PATTERN, Held

__all__ = ["Visit"]


class Piece(NamedTuple):
  """A tile that a visit computes, or several full ones as one.

  Args:
    plan: of the kernel; that of joined tiles where it is several.
    kind: FULL or MIXED.
    tile: which of the visit it is, along the queries and along the keys.
  """

  plan: Plan
  kind: int
  tile: tuple[int, int]


def pieces(plan: Plan, codes: Sequence[int]) -> list[Piece]:
  """What a visit computes whose codes are known, full tiles joined.

  The sums of a row are brought to a new shift once for all keys of a tile, so
  a wide one takes less work.

  Args:
    plan: of the kernel.
    codes: of the tiles, row by row.

  >>> from attnjax.ops.tiles.fold import FULL, MIXED
  >>> from attnjax.ops.tiles.kernel_plan import Plan
  >>> plan = Plan(*[None] * len(Plan._fields))
  >>> plan = plan._replace(macro=(1, 4), joined={2: plan})
  >>> [x.tile for x in pieces(plan, (FULL, FULL, FULL, MIXED))]
  [(0, 0), (0, 2), (0, 3)]
  """
  queries, keys = plan.macro
  found = []
  for t in range(queries):
    row, s = codes[t * keys : (t + 1) * keys], 0
    while s < keys:
      # The most that are full from here on, and are cut as a plan cuts them.
      full = lambda n, row=row, s=s: all(x == FULL for x in row[s : s + n])
      count = max((n for n in plan.joined if not s % n and full(n)), default=1)
      if row[s] != EMPTY:
        own = plan.joined.get(count, plan)
        found.append((s, Piece(own, row[s], (t, s // count))))
      s += count
  # Neighbours are of other queries: one need not wait for the sums of another.
  return [piece for _, piece in sorted(found, key=lambda x: x[0])]


def parts(plan: Plan, kind: int, tile: tuple[int, int]) -> list[Piece]:
  """What is computed of a tile that is alone in its program.

  In parts: while one waits for its softmax, the matrix unit has the next.
  """
  own, (t, s) = plan.parted, tile
  if own is None:
    return [Piece(plan, kind, tile)]
  count = own.macro[0] // plan.macro[0]
  return [Piece(own, kind, (t * count + n, s)) for n in range(count)]


def _within(plan: Plan, a: str, tile):
  """The part of a tile within the block of a visit."""
  if a not in ("t", "s") or plan.macro[a == "s"] == 1:
    return slice(None)
  size = plan.sizes[a]
  return pl.ds(tile[a == "s"] * size, size)


class Visit:
  """The body of a kernel: one visit, of refs to all arrays."""

  def __init__(self, plan: Plan, start, adds: bool, codes_shape, refs):
    """Where the visit is, and which ref is what."""
    (pairs, self.edges, codes), refs = refs[:3], refs[3:]
    self.plan, self.start, self.adds = plan, start, adds
    given = iter(refs)
    self.operands: list[Any] = [
      next(given) if not array.in_smem or singly else None
      for array, singly in zip(plan.operands, plan.read_singly, strict=True)
    ]
    self.strips: list[Any] = [
      next(given) if x else None for x in plan.by_position
    ]
    self.outs = [next(given) for _ in plan.sums]
    self.places = [
      next(given) if column else out
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
    place = lambda tile: tile[0] * plan.macro[1] + tile[1]
    together = len(tiles) > 1 and FULL in plan.programs
    is_full = self.code(0) == FULL
    # Without branches between them, the compiler orders the operations of all
    # tiles as one program.
    if together:
      full = (FULL,) * len(tiles)
      pl.when(is_full)(functools.partial(self._tiles, pieces(plan, full)))
    for n, pattern in enumerate(plan.patterns or ()):
      met = self.code(0) == FIRST_PATTERN + n
      pl.when(met)(functools.partial(self._tiles, pieces(plan, pattern)))
    for tile in tiles if plan.patterns is None else ():
      code = self.code(1 + place(tile))
      for kind in plan.programs:
        met = code == kind
        if together and kind == FULL:
          met = met & ~is_full
        one = parts(plan, kind, tile)
        pl.when(met)(functools.partial(self._tiles, one))

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
    row = row_of(self.places[k][...], partial=plan.partial[k])
    out[(0,) * (len(out.shape) - 2)] = row

  def _tiles(self, tiles: list[Piece]) -> None:
    """Adds some tiles, all in one program."""
    held: dict = {}
    waiting: Callable = lambda: None
    for plan, kind, tile in tiles:
      rest = started(
        plan.programs[kind],
        plan.layout,
        self._arguments(plan, tile, held),
        plan.narrow,
      )
      waiting()
      waiting = functools.partial(self._finish, plan, tile, rest, held)
    waiting()
    for (k, *_), (slot, x) in held.items():
      self.places[k][slot] = x

  def _finish(self, plan: Plan, tile, rest: Callable, held: dict) -> None:
    """Ends a tile that was begun, and keeps what it adds to."""
    for k, x in enumerate(rest()):
      self._keep(plan, k, tile, x, held)

  def _arguments(self, plan: Plan, tile, held: dict) -> list:
    """The arguments of a tile's program: its numbers, and its parts."""
    at = self.at
    t, s = (
      at[a] * size + k
      for a, size, k in zip("ts", plan.macro, tile, strict=True)
    )
    found: list = [scalar(x, jnp.int32) for x in (at["b"], at["h"], t, s)]
    found += [
      functools.partial(self._read, plan, k, tile)
      for k in range(len(plan.operands))
    ]
    if not self.adds:
      found += [
        functools.partial(self._held, plan, k, tile, held)
        for k in range(len(plan.sums))
      ]
    return found

  def _read(self, plan: Plan, k: int, tile):
    """The part of an operand, as a plane."""
    array, ref = plan.operands[k], self.operands[k]
    if array.in_smem:
      if array.whole is None:
        return self._numbers(k, scalar(0, jnp.int32))
      return Whole(
        functools.partial(self._numbers, k),
        array.shape[len(array.lead) :],
        array.dtype,
      )

    slot: list[Any] = [0] * len(array.lead)
    slot += [slice(None)] * (2 - len(array.inner))
    slot += [_within(plan, a, tile) for _, a in array.inner]
    x, matrix = ref[tuple(slot)], len(array.inner) == 2
    if array.dtype == bool:
      x = x.astype(jnp.int32)
      x = x != 0 if matrix else x
    sub, lane = array.names if matrix else (None, *array.names)
    return Plane(x, sub, lane, array.dtype)

  def _numbers(self, k: int, at: Plane) -> Plane:
    """Numbers of an array of single ones, where a plane says."""
    array = self.plan.operands[k]
    as_given = lambda x: (
      x != 0 if array.dtype == bool else x.astype(array.dtype)
    )
    if not at.axes:
      found = self.operands[k][self._flat(array) + at.array]
      return scalar(as_given(found), array.dtype)

    lead = tuple(
      self.plan.block(a, self.at) if n > 1 else 0 for a, n in array.lead
    )
    strip = lambda n: self.strips[k][(*lead, pl.ds(n, 1))]
    found = as_given(numbers_at(strip, array.strips[-2], at.array))
    return self.plan.layout.natural(found, array.dtype, at.sub, at.lane)

  def _flat(self, array: GivenArray):
    """Where what a visit has of an array in SMEM begins."""
    found: Any = 0
    for a, size in array.lead:
      found = found * size + (self.plan.block(a, self.at) if size > 1 else 0)
    return found * (array.whole or 1)

  def _slot(self, plan: Plan, k: int, tile) -> tuple:
    """Where, in what is held of a sum, the part of a tile is."""
    array, of = plan.sums[k], plan.held[k]
    if plan.columns[k]:
      return (_within(plan, array.names[0], tile), slice(None))
    slot: list[Any] = [
      0 if plan.is_cut(a, of) or n == 1 else plan.block(a, self.at)
      for a, n in array.lead
    ]
    slot += [slice(None)] * (2 - len(array.inner))
    for _, a in array.inner:
      if a not in ("t", "s") or plan.is_cut(a, of):
        slot.append(_within(plan, a, tile))
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

  def _held(self, plan: Plan, k: int, tile, held: dict) -> Plane:
    """What is held of a sum where a tile adds."""
    array = plan.sums[k]
    if array.in_smem:
      raise CannotLower("a state of single numbers, which a tile replaces")
    key = self._key(k, tile)
    x = (
      held[key][1] if key in held else self.places[k][self._slot(plan, k, tile)]
    )
    return Plane(x, *self._form(k), array.dtype, partial=plan.partial[k])

  def _keep(self, plan: Plan, k: int, tile, x, held: dict) -> None:
    """Keeps what a tile returned, or what it is with what is held."""
    array = plan.sums[k]
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
      new = self._held(plan, k, tile, held).array + new
    held[self._key(k, tile)] = self._slot(plan, k, tile), new

  def _add_numbers(self, k: int, x) -> None:
    """Adds single numbers to a sum in SMEM."""
    array, ref = self.plan.sums[k], self.places[k]
    if isinstance(x, Plane) and len(x.axes) == 1 and array.whole is not None:
      # A row of features, number by number.
      (axis,) = x.axes
      x = stacked(self.plan.layout, [x], axis, lambda xs: xs[0], x.dtype)
    if isinstance(x, Plane) and (x.axes or array.whole is not None):
      if is_zero(x.array):
        return
      raise CannotLower("a sum of whole arrays, but for single numbers")
    if isinstance(x, Plane):
      x = Adds(((0, x.array),))
    elif isinstance(x, Stack):
      numbers = x
      each = lambda n: (n, numbers.read(n).array)
      x = Adds(loops=((0, self.plan.sizes[numbers.axis], each),))

    first = self._flat(array)

    def add(pair) -> None:
      place, number = pair
      at = first + place
      ref[at] = ref[at] + jnp.asarray(number).astype(ref.dtype)

    for pair in x.numbers:
      add(pair)
    for low, high, pair_of in x.loops:
      turn = lambda n, _, pair_of=pair_of: add(pair_of(n))
      jax.lax.fori_loop(low, high, turn, None)
