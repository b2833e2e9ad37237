"""Tiles of a function: evaluated at every position, exactly, part by part.

A function that takes positions and nothing traced is evaluated while a program
is traced, 2^20 pairs at a time, in one compiled program of a fixed shape. What
is kept are two booleans a cell of at most 64 x 64 pairs, from which tiles of
every size are made.
"""

import collections
import functools
import math
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np

from attnjax.ops.grid import Area, unfolded
from attnjax.ops.masks.bounds import SomeEvery
from attnjax.ops.masks.function_value import FunctionValue, value_key
from attnjax.ops.target import computed_here
from attnjax.typing import Array

__all__ = [
  "CELLS",
  "Axis",
  "Evaluated",
  "axis_of",
  "depends_on",
  "evaluate",
  "known_tiles",
]

_CELL = 64  # blocks that are tried have this size or more
_QUERIES, _KEYS = (64, 512), (64, 512, 2048)  # evaluated at once
CELLS = 2**24  # at most, of one batch row and head
_KEPT = 2**26  # bytes of all tables


class Axis(NamedTuple):
  """The positions of queries, or of keys, cut into cells of one length.

  Args:
    start: the first position; of tokens in another order, 0.
    stop: past the last one.
    cell: positions a cell.
    order: int32, the position of each token, as bytes; None where they stand
      one after the other.

  >>> Axis(3, 8, 2).places(0, 6).tolist()  # the last stands for what is past it
  [3, 4, 5, 6, 7, 7]
  """

  start: int
  stop: int
  cell: int
  order: bytes | None = None

  @property
  def size(self) -> int:
    """How many positions there are."""
    return self.stop - self.start

  @property
  def cells(self) -> int:
    """How many cells there are."""
    return -(-self.size // self.cell)

  def places(self, first: int, count: int) -> np.ndarray:
    """So many positions; one that is repeated changes no any and no all."""
    at = np.minimum(np.arange(first, first + count), self.size - 1)
    if self.order is not None:
      return np.frombuffer(self.order, np.int32)[at]
    return (self.start + at).astype(np.int32)

  def cut(self, first, last) -> tuple:
    """Half-open ranges of cells, of closed ranges of positions."""
    low = np.clip(np.asarray(first, np.int64), self.start, self.stop)
    high = np.clip(np.asarray(last, np.int64) + 1, low, self.stop)
    up = lambda x: -(-(x - self.start) // self.cell)
    return up(low), up(high)


def axis_of(bounds: tuple, order: np.ndarray | None = None) -> Axis | None:
  """The cells into which ranges of positions cut an axis; None of no range.

  >>> import numpy as np
  >>> first = np.arange(0, 1000, 128)
  >>> axis_of((first, first + 127))
  Axis(start=0, stop=1024, cell=64, order=None)
  """
  first, last = (np.asarray(x, np.int64) for x in bounds)
  first, last = np.broadcast_arrays(first, last)
  some = first <= last
  if not some.any():
    return None

  starts, stops = first[some], last[some] + 1
  start, stop = int(starts.min()), int(stops.max())
  # Where ranges meet; the end may be anywhere.
  inner = np.unique(np.concatenate([starts, stops[stops != stop]]) - start)
  cell = math.gcd(_CELL, *inner.tolist())
  return Axis(start, stop, cell, None if order is None else order.tobytes())


class Evaluated(NamedTuple):
  """A function with the arrays that it captures; equal ones by their keys.

  Args:
    value: the function.
    arrays: what it captures, or shapes of it.
    key: of the arrays: of their values, where they are known.
  """

  value: FunctionValue
  arrays: tuple
  key: Any

  def __hash__(self) -> int:
    """By value."""
    return hash((self.value, self.key))

  def __eq__(self, other) -> bool:
    """By value."""
    return (self.value, self.key) == (other.value, other.key)


def evaluate(fn: Callable, arrays: tuple, b, h, q, k) -> Array:
  """The booleans of a mask's function at positions, which broadcast.

  >>> evaluate(lambda b, h, q, k: q >= k, (), 0, 0, 2, 1).item()
  True
  """
  # Device arrays, because a numpy array cannot be indexed by a traced one.
  arrays = jax.tree.map(jnp.asarray, arrays)
  seen = fn(b, h, q, unfolded(k), *arrays)

  if jnp.result_type(seen) != bool:
    raise ValueError(
      f"from_fn: the function of a mask must return booleans, got"
      f" {jnp.result_type(seen)}; one that changes logits is"
      " score_mods.from_fn"
    )
  return seen


def known_tiles(
  evaluated: Evaluated,
  area: Area,
  axes: tuple[Axis, Axis],
  rows: int | None,
  heads: tuple[int, int] | None,
) -> SomeEvery:
  """(some, every) of each tile of an area, exactly, in numpy.

  Args:
    evaluated: the function.
    area: the tiles; its bounds are indices where the axes have an order.
    axes: of its queries and of its keys.
    rows: of the batch, where the function differs by batch row; else None.
    heads: first and last, where it differs by head; else None.
  """
  first, last = (0, 0) if heads is None else heads
  some, every = [], []
  for b in range(1 if rows is None else rows):
    found = [_table(evaluated, axes, b, h) for h in range(first, last + 1)]
    some.append(np.logical_or.reduce([x for x, _ in found]))
    every.append(np.logical_and.reduce([x for _, x in found]))

  at: Any = 0
  if rows is not None and area.batch is not None:
    low, high = (np.ravel(x) for x in area.batch)
    groups = [slice(i, j + 1) for i, j in zip(low, high, strict=True)]
    some = [np.logical_or.reduce(some[g]) for g in groups]
    every = [np.logical_and.reduce(every[g]) for g in groups]
    at = np.arange(len(groups)).reshape(np.shape(area.batch[0]))

  query, key = axes[0].cut(*area.query), axes[1].cut(*area.key)
  holes = ~np.stack(every)
  return (
    _count(np.stack(some), at, query, key) > 0,
    _count(holes, at, query, key) == 0,
  )


def _count(cells: np.ndarray, at, query: tuple, key: tuple) -> np.ndarray:
  """How many cells of each rectangle are True, by sums of a summed table."""
  sums = np.pad(cells.astype(np.int32), ((0, 0), (1, 0), (1, 0)))
  sums = sums.cumsum(1, dtype=np.int32).cumsum(2, dtype=np.int32)
  (q0, q1), (k0, k1) = query, key
  above = sums[at, q1, k1] - sums[at, q0, k1]
  return np.asarray(above - sums[at, q1, k0] + sums[at, q0, k0])


_tables: collections.OrderedDict[Any, tuple] = collections.OrderedDict()
_lock = threading.Lock()


def _table(evaluated: Evaluated, axes: tuple[Axis, Axis], b: int, h: int):
  """(some, every) of each cell of one batch row and head, remembered."""
  key = (evaluated.value, evaluated.key, axes, b, h)
  with _lock:
    if key in _tables:
      _tables.move_to_end(key)
      return _tables[key]

  # Outside of the lock, for it may raise, and takes its time.
  found = _evaluate(evaluated, axes, b, h)
  with _lock:
    _tables[key] = found
    while sum(x.nbytes + y.nbytes for x, y in _tables.values()) > _KEPT:
      _tables.popitem(last=False)
  return found


def _evaluate(evaluated: Evaluated, axes: tuple[Axis, Axis], b: int, h: int):
  """(some, every) of each cell, 2^20 pairs at a time."""
  query, key = axes
  some = np.empty((query.cells, key.cells), bool)
  every = np.empty_like(some)
  rows, columns = _step(query.size, _QUERIES), _step(key.size, _KEYS)
  program = _program(evaluated.value)

  def tabulate():
    for i in range(0, query.size, rows):
      for j in range(0, key.size, columns):
        places = query.places(i, rows), key.places(j, columns)
        seen = program(np.int32(b), np.int32(h), *places, evaluated.arrays)
        found = _cells(np.asarray(seen), query.cell, key.cell)
        part = np.s_[i // query.cell :, j // key.cell :]
        for table, x in zip((some, every), found, strict=True):
          into = table[part][: x.shape[0], : x.shape[1]]
          into[...] = x[: into.shape[0], : into.shape[1]]

  computed_here(tabulate)
  return some, every


def _step(size: int, choices: tuple[int, ...]) -> int:
  """The least choice that holds a size, or the largest: few are compiled."""
  return next((n for n in choices if size <= n), choices[-1])


def _cells(seen: np.ndarray, rows: int, columns: int) -> tuple:
  """Any and all of each cell of ``Q K``."""
  q, k = seen.shape
  bits = seen.view(np.uint8).reshape(q // rows, rows, k)
  found = []
  for reduce in (np.bitwise_or.reduce, np.bitwise_and.reduce):
    narrow = reduce(bits, axis=1)  # along memory first: 8 times as fast
    narrow = narrow.reshape(q // rows, k // columns, columns)
    found.append(reduce(narrow, axis=2).astype(bool))
  return tuple(found)


@functools.lru_cache(maxsize=256)
def _program(value: FunctionValue) -> Callable:
  """The function of one batch row and head at ``Q K`` pairs, compiled."""

  def program(b, h, q, k, arrays):
    coordinates = _coordinates(b, h, q, k)
    seen = evaluate(value.fn, arrays, *coordinates)
    return jnp.broadcast_to(seen, (1, 1, len(q), len(k)))[0, 0]

  return jax.jit(program)


def _coordinates(b, h, q, k) -> tuple:
  """b, h, q and k as they are given to a function: of rank 4, one axis each."""
  return tuple(
    jnp.reshape(x, [-1 if n == axis else 1 for n in range(4)])
    for axis, x in enumerate((b, h, q, k))
  )


def depends_on(evaluated: Evaluated) -> tuple[bool, bool]:
  """Whether a function differs by batch row, and by head.

  Decided on its program: where a result is computed from one, it may differ.

  >>> from attnjax.ops.masks.function_value import FunctionValue
  >>> of = lambda fn: Evaluated(FunctionValue(fn), (), ())
  >>> depends_on(of(lambda b, h, q, k: (q >= k) & (h < 2)))
  (False, True)
  """
  shape = lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))
  arrays = jax.tree.map(shape, evaluated.arrays)
  return _depends_on(Evaluated(evaluated.value, arrays, value_key(arrays)))


@functools.lru_cache(maxsize=256)
def _depends_on(evaluated: Evaluated) -> tuple[bool, bool]:
  """`depends_on`, of the shapes of arrays."""
  one = jax.ShapeDtypeStruct((1,), jnp.int32)
  of = lambda b, h, q, k, arrays: evaluate(
    evaluated.value.fn, arrays, *_coordinates(b, h, q, k)
  )
  program = computed_here(
    lambda: jax.make_jaxpr(of)(one, one, one, one, evaluated.arrays)
  ).jaxpr
  others = [False] * (len(program.invars) - 2)
  marks = ([True, False, *others], [False, True, *others])
  by_row, by_head = (_reaches(program, mark) for mark in marks)
  return any(by_row), any(by_head)


def _reaches(program, marked: list[bool]) -> list[bool]:
  """Which results of a program are computed from the marked arguments."""
  reached = {x for x, mark in zip(program.invars, marked, strict=True) if mark}
  is_reached = lambda x: (
    not isinstance(x, jax.extend.core.Literal) and x in reached
  )

  for line in program.eqns:
    marks = list(map(is_reached, line.invars))
    if not any(marks):
      continue
    found = [True] * len(line.outvars)
    # Into `jnp.where` and functions that the user jitted.
    if line.primitive.name in ("jit", "pjit"):
      found = _reaches(line.params["jaxpr"].jaxpr, marks)
    outs = zip(line.outvars, found, strict=True)
    reached.update(x for x, mark in outs if mark)
  return list(map(is_reached, program.outvars))
