"""How one call of attention is divided among the devices of a mesh."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnjax.ops.attention.arguments import Aux, Call
from attnjax.ops.attention.block_sizes import Blocks, choose_blocks
from attnjax.ops.attention.blockwise import Blockwise
from attnjax.ops.attention.live_tiles import tile_codes
from attnjax.ops.attention.online_softmax import finished, online_softmax
from attnjax.ops.attention.tile_operands import (
  CallOperands,
  Places,
  bounded,
  select_top_k,
)
from attnjax.ops.masks.arrays import holds_arrays
from attnjax.ops.tiles import EMPTY, FULL, MIXED, Subscripts, Sweep
from attnjax.parallel import token_layouts
from attnjax.parallel.collectives import Courier
from attnjax.typing import Array

__all__ = ["Division", "Table", "attend_divided", "known_table"]


class Division(NamedTuple):
  """Which axis of a mesh divides which axis of a call, and into what tiles.

  Args:
    mesh: of the devices.
    layout: of the tokens.
    shards: parts that the layout has.
    axes: mesh axes that divide b, h, t and s where a call is computed.
    home: how queries, keys, values and the output lie, ``B T H``.
    blocks: of a tile; None until a call is known.
  """

  mesh: Mesh
  layout: token_layouts.TokenLayout
  shards: int
  axes: tuple[tuple[str, ...], ...]
  home: PartitionSpec
  blocks: Blocks = Blocks(1, 1, 1)

  def parts(self, axis: str) -> int:
    """Into how many parts an axis, b, h, t or s, is divided."""
    names = self.axes["bhts".index(axis)]
    return math.prod(self.mesh.shape[name] for name in names)

  def spec(self, subscripts: Subscripts) -> PartitionSpec:
    """How an array lies on the mesh; one along t and s lies along t alone."""
    names = dict(zip("bhts", self.axes, strict=True))
    if "t" in subscripts:
      names.pop("s")
    return PartitionSpec(*(names.get(axis) or None for axis in subscripts))

  @property
  def runs(self) -> int:
    """Pieces of a sequence that no tile may straddle."""
    return self.shards * token_layouts.runs(self.layout)

  def with_blocks(self, call: Call, engine: Blockwise) -> "Division":
    """The division with blocks for the part of a call that a device has."""
    batch, heads, length, keys = call.shape
    rows, length, keys = (
      batch // self.parts("b"),
      length // self.runs,
      keys // self.runs,
    )
    count = lambda n, size: -(-n // size)
    blocks = choose_blocks(
      (rows, heads // self.parts("h"), length, keys),
      platform=self.mesh.devices.flat[0].platform,
      footprint=call.footprint,
      live=lambda x: (
        count(rows, x.rows) * count(length, x.query) * count(keys, x.key)
      ),
      query=engine.query_block,
      key=engine.key_block,
    )
    return self._replace(blocks=blocks)

  def at_home(self, call: Call) -> Call:
    """The call with its large arrays where they belong, gradients too."""
    lay = lambda x: self._lay(x, self.home)
    query, key, value = map(lay, (call.query, call.key, call.value))
    return dataclasses.replace(call, query=query, key=key, value=value)

  def result_at_home(self, out, aux):
    """The output and the aux where the queries are."""
    batch, length, heads = self.home
    rows = PartitionSpec(batch, heads, length)
    return self._lay(out, self.home), jax.tree.map(
      lambda x: self._lay(x, rows), aux
    )

  def _lay(self, x, spec: PartitionSpec):
    """An array, laid on the mesh."""
    sharding = NamedSharding(self.mesh, spec)
    return jax.lax.with_sharding_constraint(x, sharding)

  def padded(self, call: Call) -> tuple[int, int, int, int]:
    """``B H T S`` where each run is whole blocks."""
    batch, heads, length, keys = call.shape
    _, query, key = self.blocks
    up = lambda n, size: -(-(n // self.runs) // size) * size * self.runs
    return batch, heads, up(length, query), up(keys, key)

  def places(self, call: Call) -> Places:
    """The token in each place; in padding one past the last."""
    batch, heads, length, keys = call.shape
    _, _, longer, more = self.padded(call)

    def index(length: int, longer: int):
      order = token_layouts.order(self.layout, length, self.shards)
      order = order.reshape(self.runs, -1)
      wide = np.full((self.runs, longer // self.runs), length, np.int32)
      wide[:, : order.shape[1]] = order
      return wide.reshape(-1)

    return Places(
      np.arange(batch, dtype=np.int32),
      np.arange(heads, dtype=np.int32),
      index(length, longer),
      index(keys, more),
    )

  def operands(self, call: Call) -> CallOperands:
    """The operands of the whole call, each run padded."""
    shape = self.padded(call)
    places = jax.tree.map(jnp.asarray, self.places(call))
    operands = CallOperands.unpadded(call, self.blocks, shape, places)

    def pad(x, subscripts: Subscripts):
      for axis, old, new in zip("ts", call.shape[2:], shape[2:], strict=True):
        at = subscripts.find(axis)
        if at >= 0 and x.shape[at] == old != new:
          x = self._longer(x, at, new)
      return x

    return operands.map(pad)

  def _longer(self, x, axis: int, length: int):
    """Repeats the last of each run, as `pad` does of a whole axis."""
    shape, x = x.shape, self._in_runs(x, axis)
    widths = [(0, 0)] * x.ndim
    widths[axis + 1] = (0, length // self.runs - x.shape[axis + 1])
    numpy = np if isinstance(x, np.ndarray) else jnp
    x = numpy.pad(x, widths, mode="edge")
    return x.reshape((*shape[:axis], length, *shape[axis + 1 :]))

  def shorter(self, x, axis: int, length: int):
    """An array of runs without what was padded to each."""
    shape = x.shape
    if shape[axis] == length:
      return x
    x = self._in_runs(x, axis)
    x = jax.lax.slice_in_dim(x, 0, length // self.runs, axis=axis + 1)
    return x.reshape((*shape[:axis], length, *shape[axis + 1 :]))

  def _in_runs(self, x, axis: int):
    """An array with an axis of runs before that of tokens."""
    size = x.shape[axis] // self.runs  # not -1: nothing else need have a size
    shape = (*x.shape[:axis], self.runs, size, *x.shape[axis + 1 :])
    return x.reshape(shape)

  def known_codes(self, call: Call, positions) -> np.ndarray | None:
    """What is known of every tile while tracing, ``b t s``; None if it is not.

    Args:
      call: the whole.
      positions: of queries and keys, ``#B T`` and ``#B S`` of numpy; None is
        the order of the tokens.
    """
    shape, places = self.padded(call), self.places(call)
    longer = [
      x if x is None else self._longer(x, 1, size)
      for x, size in zip(positions, shape[2:], strict=True)
    ]
    codes = self._codes(shape, bounded(call, shape), longer, places)
    return codes if isinstance(codes, np.ndarray) else None

  def found_codes(self, operands: CallOperands):
    """What is found of every tile when the program runs, ``b t s``."""
    positions = operands.query_positions, operands.key_positions
    return jnp.asarray(
      self._codes(
        operands.settings.shape, operands.rules, positions, operands.places
      )
    )

  def _codes(self, shape, rules, positions, places: Places | None):
    """EMPTY, MIXED or FULL of every tile."""
    index = (None, None)
    if places is not None:
      index = (places.query[None], places.key[None])
    return tile_codes(
      shape,
      self.blocks,
      rules,
      *positions,
      query_index=index[0],
      key_index=index[1],
    )


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
  operands = division.operands(call)
  keep = call.normalizer.keep
  here = functools.partial(
    _here,
    sweep=_sweep(division, operands.settings.shape, table, courier),
    pieces=1 if courier is None else courier.pieces,
    subscripts=tuple(operands.subscripts()),
    keep=None if keep is None else min(keep, call.shape[3]),
  )
  specs = operands.map(lambda _, subscripts: division.spec(subscripts))
  run = jax.shard_map(
    here,
    mesh=division.mesh,
    in_specs=(specs, division.spec("bt.")),
    out_specs=division.spec("bht"),
  )
  found = division.found_codes(operands) if table is None else table.codes
  out, aux = finished(call, run(operands, jnp.asarray(found)))
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
  operands: CallOperands,
  codes,
  *,
  sweep: Sweep,
  pieces: int,
  subscripts,
  keep,
) -> dict:
  """What one device finds: output ``B H T E`` and aux of its queries."""
  shape = tuple(x.shape[0] for x in jax.tree.leaves(operands.places))
  settings = operands.settings._replace(shape=shape, subscripts=subscripts)
  operands = dataclasses.replace(operands, settings=settings)
  b, t, s = sweep.tiles.T
  # Not -1: of an empty batch it could be anything.
  parts = (*codes.shape[:2], pieces, codes.shape[2] // pieces)
  codes = codes.reshape(parts)[b, t, :, s].T
  sweep = sweep._replace(codes=codes[0] if sweep.courier is None else codes)
  if keep is not None:
    operands = select_top_k(operands, sweep, keep)
  found = online_softmax(sweep.uncoded, sweep.codes, operands)
  # What only a tangent asks for stays here.
  return {n: x for n, x in found.items() if n not in ("place", "shift", "rest")}
