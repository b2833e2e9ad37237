"""Computes one call of attention under `jax.shard_map` over a mesh.

A `Division` says which mesh axis shards which axis of a call, and pads and
orders its arrays; `attend_divided` computes the call, each device the tiles of
its own queries. Axes are named b (batch), h (heads), t (queries) and s (keys).
"""

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
from attnjax.ops.attention.block_sizes import (
  Blocks,
  choose_blocks,
  tile_cost,
)
from attnjax.ops.attention.blockwise import Blockwise
from attnjax.ops.attention.live_tiles import of_every_head, tile_codes
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

__all__ = ["Division", "TileCodes", "attend_divided", "static_tile_codes"]

# Running values of the softmax that only its JVP reads: they are no outputs of
# the shard_map.
_TANGENT_ONLY = ("place", "shift", "rest")


class Division(NamedTuple):
  """Which axis of a mesh divides which axis of a call, and into what tiles.

  Args:
    mesh: the devices.
    layout: order of the tokens.
    shards: number of devices that share the tokens.
    axes: mesh axes that divide b, h, t and s while a call is computed.
    outside: sharding ``B T H`` of queries, keys, values and the output, for
      the caller.
    blocks: sizes of a tile; 1 each until a call is known.
  """

  mesh: Mesh
  layout: token_layouts.TokenLayout
  shards: int
  axes: tuple[tuple[str, ...], ...]
  outside: PartitionSpec
  blocks: Blocks = Blocks(1, 1, 1, 1)

  def parts(self, axis: str) -> int:
    """Number of parts into which an axis, b, h, t or s, is divided."""
    names = self.axes["bhts".index(axis)]
    return math.prod(self.mesh.shape[name] for name in names)

  def spec(self, subscripts: Subscripts) -> PartitionSpec:
    """The sharding of an array with these axes, while a call is computed."""
    names = dict(zip("bhts", self.axes, strict=True))
    names["k"] = names["h"]  # key heads are sharded as query heads are
    # One mesh axis shards both t and s, but may shard one axis of an array
    # only: an array along both keeps all keys of its queries on a device.
    if "t" in subscripts:
      names.pop("s")
    return PartitionSpec(*(names.get(axis) or None for axis in subscripts))

  @property
  def spans(self) -> int:
    """Spans of consecutive tokens in an array; no tile may straddle two."""
    return self.shards * token_layouts.spans_per_shard(self.layout)

  def with_blocks(self, call: Call, engine: Blockwise) -> "Division":
    """The division with blocks for the part of a call that a device has."""
    batch, heads, length, keys = call.shape
    rows, length, keys = (
      batch // self.parts("b"),
      length // self.spans,
      keys // self.spans,
    )
    count = lambda n, size: -(-n // size)

    # Every tile counts as live: devices differ in which are, and the blocks
    # must be the same on all of them.
    blocks = choose_blocks(
      (rows, heads // self.parts("h"), length, keys),
      width=call.query.shape[-1],
      cost=tile_cost(self.mesh.devices.flat[0].platform),
      footprint=call.footprint,
      live=lambda query, key, _: count(length, query) * count(keys, key),
      query=engine.query_block,
      key=engine.key_block,
      head=engine.head_block,
      group=call.group,
    )
    return self._replace(blocks=blocks)

  def with_inputs_outside(self, call: Call) -> Call:
    """The call with queries, keys and values sharded as the caller has them.

    The constraint holds for their gradients too.
    """
    arrays = call.query, call.key, call.value
    query, key, value = (self._constrained(x, self.outside) for x in arrays)
    return dataclasses.replace(call, query=query, key=key, value=value)

  def outputs_outside(self, out, aux: Aux) -> tuple[Array, Aux]:
    """(out, aux) sharded as the caller has the queries."""
    batch, length, heads = self.outside
    rows = PartitionSpec(batch, heads, length)
    aux = jax.tree.map(lambda x: self._constrained(x, rows), aux)
    return self._constrained(out, self.outside), aux

  def _constrained(self, x, spec: PartitionSpec) -> Array:
    """An array with a sharding constraint, which holds for its gradient too."""
    sharding = NamedSharding(self.mesh, spec)
    return jax.lax.with_sharding_constraint(x, sharding)

  def padded_shape(self, call: Call) -> tuple[int, int, int, int]:
    """``B H T S`` with each span padded to whole blocks."""
    batch, heads, length, keys = call.shape
    query, key = self.blocks.query, self.blocks.key
    up = lambda n, size: -(-(n // self.spans) // size) * size * self.spans
    return batch, heads, up(length, query), up(keys, key)

  def indices(self, call: Call) -> Places:
    """Index in the call of every row, head, query and key of the arrays.

    Padding has the index one past the last token, which no mask shows.
    """
    batch, heads, length, keys = call.shape
    _, _, longer, more = self.padded_shape(call)

    def tokens(length: int, longer: int) -> np.ndarray:
      order = token_layouts.token_order(self.layout, length, self.shards)
      order = order.reshape(self.spans, -1)
      wide = np.full((self.spans, longer // self.spans), length, np.int32)
      wide[:, : order.shape[1]] = order
      return wide.reshape(-1)

    return Places(
      np.arange(batch, dtype=np.int32),
      np.arange(heads, dtype=np.int32),
      tokens(length, longer),
      tokens(keys, more),
    )

  def operands(self, call: Call) -> CallOperands:
    """The arrays of the whole call as tiles cut them, each span padded."""
    shape = self.padded_shape(call)
    places = jax.tree.map(jnp.asarray, self.indices(call))
    operands = CallOperands.unpadded(call, self.blocks, shape, places)

    def pad(x, subscripts: Subscripts):
      for axis, old, new in zip("ts", call.shape[2:], shape[2:], strict=True):
        at = subscripts.find(axis)
        if at >= 0 and x.shape[at] == old != new:
          x = self._padded(x, at, new)
      return x

    return operands.map(pad)

  def _padded(self, x, axis: int, length: int):
    """An array with each span padded by its last entry, to a total length."""
    # By the last entry, which leaves the least and largest position of a tile,
    # its bounds, as they are.
    shape, x = x.shape, self._split_spans(x, axis)
    widths = [(0, 0)] * x.ndim
    widths[axis + 1] = (0, length // self.spans - x.shape[axis + 1])
    numpy = np if isinstance(x, np.ndarray) else jnp
    x = numpy.pad(x, widths, mode="edge")
    return x.reshape((*shape[:axis], length, *shape[axis + 1 :]))

  def unpadded(self, x, axis: int, length: int):
    """An array without the padding of each span, of a total length."""
    shape = x.shape
    if shape[axis] == length:
      return x
    x = self._split_spans(x, axis)
    x = jax.lax.slice_in_dim(x, 0, length // self.spans, axis=axis + 1)
    return x.reshape((*shape[:axis], length, *shape[axis + 1 :]))

  def _split_spans(self, x, axis: int):
    """An array with an axis of spans put before that of tokens."""
    size = x.shape[axis] // self.spans  # not -1: another axis may be of size 0
    shape = (*x.shape[:axis], self.spans, size, *x.shape[axis + 1 :])
    return x.reshape(shape)

  def static_codes(self, call: Call, positions) -> np.ndarray | None:
    """EMPTY, MIXED or FULL of every tile, ``b t s``, while tracing.

    None if that depends on arrays.

    Args:
      call: the whole.
      positions: of queries and keys, ``#B T`` and ``#B S`` of numpy; None is
        the order of the tokens.
    """
    shape, places = self.padded_shape(call), self.indices(call)
    longer = [
      x if x is None else self._padded(x, 1, size)
      for x, size in zip(positions, shape[2:], strict=True)
    ]
    codes = self._codes(shape, bounded(call, shape), longer, places)
    return codes if isinstance(codes, np.ndarray) else None

  def traced_codes(self, operands: CallOperands) -> Array:
    """EMPTY, MIXED or FULL of every tile, ``b t s``, as the program runs."""
    positions = operands.query_positions, operands.key_positions
    return jnp.asarray(
      self._codes(
        operands.settings.shape, operands.rules, positions, operands.places
      )
    )

  def _codes(self, shape, rules, positions, places: Places | None):
    """EMPTY, MIXED or FULL of every tile; numpy if it is known."""
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


class TileCodes:
  """EMPTY, MIXED or FULL of every tile, ``b t s``, hashed by value.

  A static argument of `jax.jit` must be hashed, which an array of numpy is not.
  """

  def __init__(self, array: np.ndarray):
    self.array, self._key = array, (array.shape, array.tobytes())

  def __hash__(self) -> int:
    return hash(self._key)

  def __eq__(self, other) -> bool:
    return isinstance(other, TileCodes) and self._key == other._key


def static_tile_codes(
  division: Division,
  call: Call,
  batch: tuple[int, ...],
  positions: Iterable,
  concrete: Callable[[Any], bool],
) -> TileCodes | None:
  """The codes of a call's tiles, if they are known before it runs; else None.

  Args:
    division: of the call.
    call: the whole.
    batch: its batch axes, as they were given.
    positions: of queries and of keys, as they were given.
    concrete: whether the values of an array may be constants of the program.
  """
  rules, given = call.rules, list(positions)
  if holds_arrays(rules.mask) or rules.query_segment_ids is not None:
    return None
  if not all(map(concrete, jax.tree.leaves((rules.mask, given)))):
    return None

  def rows(x) -> np.ndarray | None:
    """Positions with one batch axis, of size 1 where one row serves all."""
    if x is None:
      return None
    x = np.asarray(x, np.int32)
    if math.prod(x.shape[:-1]) != 1:
      x = np.broadcast_to(x, (*batch, x.shape[-1]))
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])

  codes = division.static_codes(call, [rows(x) for x in given])
  return None if codes is None else TileCodes(codes)


# Jitted for eager callers, who would else compile the loop anew at each call.
@functools.partial(jax.jit, static_argnames=("division", "codes", "courier"))
def attend_divided(
  call: Call,
  division: Division,
  codes: TileCodes | None,
  courier: Courier | None,
) -> tuple[Array, Aux]:
  """Attention of a whole call, divided among devices.

  Args:
    call: the whole.
    division: of it among the devices.
    codes: what is known of its tiles; None finds it when the program runs.
    courier: what brings the keys of other devices; None where all are here.

  Returns:
    (out ``B T H E``, aux), sharded as the queries are.
  """
  call = division.with_inputs_outside(call)
  operands = division.operands(call)

  specs = operands.map(lambda _, subscripts: division.spec(subscripts))
  keep = call.normalizer.keep
  run = jax.shard_map(
    functools.partial(
      _on_device,
      sweep=_sweep(division, operands.settings.shape, codes, courier),
      pieces=1 if courier is None else courier.pieces,
      subscripts=tuple(operands.subscripts()),
      keep=None if keep is None else min(keep, call.shape[3]),
    ),
    mesh=division.mesh,
    in_specs=(specs, division.spec("bt.")),
    out_specs=division.spec("bht"),
  )
  found = division.traced_codes(operands) if codes is None else codes.array
  out, aux = finished(call, run(operands, jnp.asarray(found)))

  length = call.shape[2]
  out = jnp.moveaxis(division.unpadded(out, 2, length), 1, 2)
  aux = jax.tree.map(lambda x: division.unpadded(x, 2, length), aux)
  return division.outputs_outside(out.astype(call.value.dtype), aux)


def _sweep(
  division: Division, shape, codes: TileCodes | None, courier: Courier | None
) -> Sweep:
  """The tiles that some device has to compute with some piece of the keys.

  All devices run one program: a tile is left out only if it is empty on all.
  """
  pieces = 1 if courier is None else courier.pieces
  blocks = division.blocks
  lengths = (shape[0], shape[2], shape[3])
  sizes = (blocks.rows, blocks.query, blocks.key)
  counts = [n // size for n, size in zip(lengths, sizes, strict=True)]
  parts = (division.parts("b"), division.parts("t"), pieces)
  own = [n // part for n, part in zip(counts, parts, strict=True)]

  if codes is None:
    live, kinds = np.ones(own, bool), (EMPTY, MIXED, FULL)
  else:
    pairs = zip(parts, own, strict=True)
    every = codes.array.reshape([n for pair in pairs for n in pair])
    every = every.transpose(1, 3, 5, 0, 2, 4)  # tile b t s, then device b t s
    live = (every != EMPTY).any((3, 4, 5))
    kinds = tuple(np.unique(every[live]).tolist())

  if courier is not None:
    courier = courier.skipping_empty(None if codes is None else codes.array)
  # Each device puts in the codes of its own tiles, see `_on_device`.
  nothing = np.zeros(0, np.int32)
  tiles, _ = of_every_head(
    live, shape[1] // division.parts("h") // blocks.heads
  )
  return Sweep(tiles, nothing, blocks, kinds, courier)


def _on_device(
  operands: CallOperands,
  codes,
  *,
  sweep: Sweep,
  pieces: int,
  subscripts,
  keep,
) -> dict:
  """Output ``B H T E`` and aux of the queries of one device: the shard_map."""
  shape = tuple(x.shape[0] for x in jax.tree.leaves(operands.places))
  settings = operands.settings._replace(shape=shape, subscripts=subscripts)
  operands = dataclasses.replace(operands, settings=settings)

  # The codes of the tiles in the sweep, for each piece of the keys. The size
  # is no -1, which is ambiguous where the batch is empty.
  b, _, t, s = sweep.tiles.T
  parts = (*codes.shape[:2], pieces, codes.shape[2] // pieces)
  codes = codes.reshape(parts)[b, t, :, s].T
  sweep = sweep._replace(codes=codes[0] if sweep.courier is None else codes)

  if keep is not None:
    operands = select_top_k(operands, sweep, keep)
  found = online_softmax(sweep.uncoded, sweep.codes, operands)
  return {n: x for n, x in found.items() if n not in _TANGENT_ONLY}
