"""A divided call, computed: each device folds the tiles of its own queries."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.attention.call import Aux, Call
from attnjax.ops.attention.online import finished, folded
from attnjax.ops.attention.reading import Reading
from attnjax.ops.attention.selection import select
from attnjax.ops.masks.arrays import holds_arrays
from attnjax.ops.tiles import EMPTY, FULL, MIXED, Sweep
from attnjax.parallel.division import Division
from attnjax.typing import Array

__all__ = ["Courier", "Table", "attend_divided", "known_table"]


@runtime_checkable
class Courier(Protocol):
  """How keys that others have come to a device; see `Sweep`."""

  @property
  def pieces(self) -> int:
    """In how many they come; the codes of a sweep are by piece."""

  def knowing(self, codes: np.ndarray | None) -> "Courier":
    """The courier of a call of whose tiles this is known."""

  def __call__(
    self, walk, sweep: Sweep, operands, layouts, state, state_layouts
  ) -> list:
    """Folds the tiles of all keys into the state."""


class Table:
  """What is known of every tile, ``b t s``: compared by what it holds."""

  def __init__(self, codes: np.ndarray):
    self.codes, self.key = codes, (codes.shape, codes.tobytes())

  def __hash__(self):
    return hash(self.key)

  def __eq__(self, other):
    return isinstance(other, Table) and self.key == other.key


def known_table(
  division: Division,
  call: Call,
  batch: tuple[int, ...],
  positions: Iterable,
  told: Callable[[Any], bool],
) -> Table | None:
  """What is known of the tiles of a call before it runs; None if it depends.

  Args:
    division: of the call.
    call: the whole.
    batch: its batch axes, as they were given.
    positions: of queries and of keys, as they were given.
    told: whether the program may be made for the values of an array.
  """
  rules, given = call.rules, list(positions)
  if holds_arrays(rules.mask) or rules.query_segment_ids is not None:
    return None
  if not all(map(told, jax.tree.leaves((rules.mask, given)))):
    return None

  def rows(x):
    """With one batch axis, of size 1 where one row serves all."""
    if x is None:
      return None
    x = np.asarray(x, np.int32)
    if math.prod(x.shape[:-1]) != 1:
      x = np.broadcast_to(x, (*batch, x.shape[-1]))
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])

  codes = division.known_codes(call, [rows(x) for x in given])
  return None if codes is None else Table(codes)


# Compiled once also where the caller does not.
@functools.partial(jax.jit, static_argnames=("division", "table", "courier"))
def attend_divided(
  call: Call,
  division: Division,
  table: Table | None,
  courier: Courier | None,
) -> tuple[Array, Aux]:
  """(out ``B T H E``, aux) of a whole call.

  Args:
    call: the whole.
    division: of it among the devices.
    table: what is known of its tiles.
    courier: what brings the keys of other devices; None where all are here.
  """
  call = division.at_home(call)
  reading = division.reading(call)
  keep = call.normalizer.keep
  here = functools.partial(
    _here,
    sweep=_sweep(division, reading.form.shape, table, courier),
    pieces=1 if courier is None else courier.pieces,
    along=tuple(jax.tree.leaves(reading.layouts())),
    keep=None if keep is None else min(keep, call.shape[3]),
  )
  specs = jax.tree.map(division.spec, reading.layouts())
  run = jax.shard_map(
    here,
    mesh=division.mesh,
    in_specs=(specs, division.spec("bt.")),
    out_specs=division.spec("bht"),
  )
  found = division.found_codes(reading) if table is None else table.codes
  out, aux = finished(call, run(reading, jnp.asarray(found)))
  length = call.shape[2]
  out = jnp.moveaxis(division.shorter(out, 2, length), 1, 2)
  aux = jax.tree.map(lambda x: division.shorter(x, 2, length), aux)
  return division.result_at_home(out.astype(call.value.dtype), aux)


def _sweep(
  division: Division, shape, table: Table | None, courier: Courier | None
) -> Sweep:
  """The tiles that some device has to visit with some piece of the keys."""
  pieces = 1 if courier is None else courier.pieces
  cut = zip((shape[0], *shape[2:]), division.blocks, strict=True)
  counts = [length // block for length, block in cut]
  parts = (division.parts("b"), division.parts("t"), pieces)
  own = [n // part for n, part in zip(counts, parts, strict=True)]
  if table is None:
    tiles, kinds = np.argwhere(np.ones(own, bool)), (EMPTY, MIXED, FULL)
  else:
    pairs = zip(parts, own, strict=True)
    every = table.codes.reshape([n for pair in pairs for n in pair])
    every = every.transpose(1, 3, 5, 0, 2, 4)
    live = (every != EMPTY).any((3, 4, 5))
    tiles, kinds = np.argwhere(live), tuple(np.unique(every[live]).tolist())
  if courier is not None:
    courier = courier.knowing(None if table is None else table.codes)
  # The codes come when the devices have theirs.
  tiles = tiles.astype(np.int32)
  return Sweep(tiles, np.zeros(0, np.int32), division.blocks, kinds, courier)


def _here(
  reading: Reading, codes, *, sweep: Sweep, pieces: int, along, keep
) -> dict:
  """What one device finds: output ``B H T E`` and aux of its queries."""
  shape = tuple(x.shape[0] for x in jax.tree.leaves(reading.places))
  form = reading.form._replace(shape=shape, layouts=along)
  reading = dataclasses.replace(reading, form=form)
  b, t, s = sweep.tiles.T
  # Not -1: of an empty batch it could be anything.
  parts = (*codes.shape[:2], pieces, codes.shape[2] // pieces)
  codes = codes.reshape(parts)[b, t, :, s].T
  sweep = sweep._replace(codes=codes[0] if sweep.courier is None else codes)
  if keep is not None:
    reading = select(reading, sweep, keep)
  found = folded(reading, sweep)
  # What only a tangent asks for stays here.
  return {n: x for n, x in found.items() if n not in ("place", "shift", "rest")}
