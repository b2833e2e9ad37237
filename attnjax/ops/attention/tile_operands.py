"""The arrays that attention over tiles reads, of a call and of one tile.

`CallOperands` are the arrays of a whole call, padded to whole tiles; each has
subscripts that say how tiles cut it. `TileOperands` are the parts that one tile
needs, and know its logits.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attnjax.ops.attention.arguments import Call
from attnjax.ops.attention.block_sizes import Blocks, pad, padded
from attnjax.ops.attention.decode import (
  read_in_place,
  reads_keys_in_place,
  scores_in_place,
)
from attnjax.ops.attention.dropout import kept
from attnjax.ops.attention.logits import Rules, logits, seen_by
from attnjax.ops.grid import Grid, row
from attnjax.ops.masks.arrays import realigned
from attnjax.ops.masks.padding import BlockPadding
from attnjax.ops.normalizers import Normalizer
from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.ops.scoring import Scoring
from attnjax.ops.tiles import MIXED, Subscripts, Sweep, fold
from attnjax.typing import Array, Bool, Float, PrecisionLike

__all__ = [
  "CallOperands",
  "Places",
  "Settings",
  "TileOperands",
  "bounded",
  "select_top_k",
  "subscripts_of",
]


class Places(NamedTuple):
  """The indices, in the whole call, of the parts of it that are here.

  None along an axis is where all of it is here.
  """

  batch: Any  # B
  head: Any  # H, or of each row where heads are side by side
  query: Any  # T, or None
  key: Any  # S, or None


class Settings(NamedTuple):
  """The static part of operands: what is known before the arrays are."""

  shape: tuple[int, int, int, int]  # B H T S, padded
  blocks: Blocks
  dtype: jnp.dtype  # of the logits
  dropout_rate: float
  dropout_shared: bool  # the dropout of all batch rows and heads is one
  precision: PrecisionLike
  aux: tuple[str, ...]
  # Whether keys and values lie as the caller has them, all heads of a token
  # side by side: ``B S K A``, else ``B K S A``.
  token_major: bool = False
  # How many query heads and key heads have their tokens side by side, token by
  # token, as those of one head; None where each has its own.
  side_by_side: tuple[int, int] | None = None
  # Of a device's part of a call: the subscripts of the whole, where no axis of
  # size 1 is a part of a longer one.
  subscripts: tuple[Subscripts, ...] | None = None


@pytree_dataclass
class _Operands:
  """The fields of `CallOperands` and `TileOperands`."""

  # Any, for subscripts stand in the same places.
  query: Any  # B K G T A
  key: Any  # B K S A, or B S K A
  value: Any  # B K S E, or B S K E
  rules: Rules
  scoring: Scoring
  normalizer: Normalizer
  query_positions: Any  # #B T, or None
  key_positions: Any  # #B S, or None
  dropout_words: Any  # uint32 2, or None
  chosen: Any  # B H T N, the keys that count; None is all
  places: Places | None  # None where all of the call is here
  settings: Settings = static()


@pytree_dataclass
class CallOperands(_Operands):
  """The arrays of a call, padded to whole tiles."""

  @classmethod
  def of(
    cls, call: Call, blocks: Blocks, places: Places | None = None
  ) -> "CallOperands":
    """The operands of a call, or of the rows and heads of it that are here."""
    shape = padded(call.shape, blocks)
    operands = cls.unpadded(call, blocks, shape, places)
    sizes = {"t": shape[2], "s": shape[3]}
    return operands.map(lambda x, subscripts: pad(x, subscripts, sizes))

  @classmethod
  def unpadded(
    cls,
    call: Call,
    blocks: Blocks,
    shape: tuple[int, int, int, int],
    places: Places | None = None,
    *,
    in_place: bool | None = None,
  ) -> "CallOperands":
    """The operands of a call, to be padded to a shape.

    Keys are read where they lie, heads side by side, if `in_place` says so;
    None is where that is faster.
    """
    if call.group != blocks.group:
      raise ValueError(
        f"blocks: group must be the {call.group} query heads that share a key"
        f" head here, got {blocks}: tiles would read other heads' keys"
      )
    query, key, value = call.prepared()
    token_major = reads_keys_in_place(call) if in_place is None else in_place
    if token_major:  # undoes what `prepared` did: the compiler leaves out both
      key, value = (jnp.moveaxis(x, 1, 2) for x in (key, value))

    return cls(
      query=query,
      key=key,
      value=value,
      rules=bounded(call, shape),
      scoring=call.scoring,
      normalizer=call.normalizer,
      query_positions=call.query_positions,
      key_positions=call.key_positions,
      dropout_words=call.dropout_words,
      chosen=None,
      places=places,
      settings=Settings(
        shape,
        blocks,
        call.logits_dtype,
        call.dropout_rate,
        call.dropout_shared,
        call.precision,
        call.aux,
        token_major,
      ),
    )

  def map(self, function) -> "CallOperands":
    """The operands after a function of each array and its subscripts."""
    arrays, tree = jax.tree.flatten(self)
    pairs = zip(arrays, self.subscripts(), strict=True)
    return jax.tree.unflatten(tree, [function(*pair) for pair in pairs])

  def subscripts(self) -> list[Subscripts]:
    """The subscripts of each array, in the order of `jax.tree.leaves`."""
    if self.settings.subscripts is not None:
      bare = dataclasses.replace(self, chosen=None)
      tree = jax.tree.structure(bare)
      found = jax.tree.unflatten(tree, self.settings.subscripts)
    else:
      found = self._own_subscripts()

    chosen = subscripts_of("bht.", self.chosen)
    return jax.tree.leaves(dataclasses.replace(found, chosen=chosen))

  def _own_subscripts(self) -> "CallOperands":
    """Subscripts in the places of arrays; "" for what is captured."""
    whole = jax.tree.map(lambda x: "", self)
    rules = whole.rules._replace(
      mask=realigned(
        lambda x: subscripts_of("bhts", x),
        self.rules.mask,
        otherwise=lambda x: "",
      ),
      bias=subscripts_of("bhts", self.rules.bias),
      query_segment_ids=subscripts_of("bt", self.rules.query_segment_ids),
      key_segment_ids=subscripts_of("bs", self.rules.key_segment_ids),
    )

    return dataclasses.replace(
      whole,
      query="bkgt.",
      key="bsk." if self.settings.token_major else "bks.",
      value="bsk." if self.settings.token_major else "bks.",
      rules=rules,
      query_positions=subscripts_of("bt", self.query_positions),
      key_positions=subscripts_of("bs", self.key_positions),
      places=self._subscripts_of_places(),
    )

  def _subscripts_of_places(self) -> "Places | None":
    """The subscripts of indices."""
    if self.places is None:
      return None
    letters = "bhts" if self.settings.side_by_side is None else "btts"
    pairs = zip(letters, self.places, strict=True)
    return Places(*(None if x is None else axis for axis, x in pairs))

  def tile_structure(self):
    """The tree of a tile's operands, to put the parts of arrays in."""
    fields = {x.name: getattr(self, x.name) for x in dataclasses.fields(self)}
    return jax.tree.structure(TileOperands(**fields))


@pytree_dataclass
class _GridOfAllHeads(Grid):
  """Coordinates where the tokens of several heads are those of one.

  Args:
    own: whether a key is of the key head of a query.
  """

  own: Any


@pytree_dataclass
class TileOperands(_Operands):
  """The parts of the arrays of a call that one tile needs."""

  def grid(self, tile) -> Grid:
    """The coordinates of the logits of a tile, given its block indices."""
    places = self._places(tile)
    query_index = row(places.query, 4, query=True)
    key_index = row(places.key, 4, query=False)
    head, own = places.head.reshape(1, -1, 1, 1), None
    if self.settings.side_by_side is not None:
      heads, shared = self.settings.side_by_side
      queries, keys = query_index, key_index
      query_index, key_index = queries // heads, keys // shared
      here = queries - query_index * heads
      own = here // (heads // shared) == keys - key_index * shared
      given = self.places is not None
      head = row(places.head, 4, query=True) if given else here
    query, key = self.query_positions, self.key_positions

    where = Grid(
      batch=places.batch.reshape(-1, 1, 1, 1),
      head=head,
      query_position=query_index
      if query is None
      else row(query, 4, query=True),
      key_position=key_index if key is None else row(key, 4, query=False),
      query_index=query_index,
      key_index=key_index,
    )
    return where if own is None else _GridOfAllHeads(**vars(where), own=own)

  def _places(self, tile) -> Places:
    """Indices of a tile: of what is here as a whole, by its block numbers."""
    size = self.settings.blocks
    block = lambda axis, n: tile[axis] * n + jnp.arange(n, dtype=jnp.int32)
    # Of a kernel some tiles are of more keys than others.
    sizes = {
      "batch": size.rows,
      "head": size.heads,
      "query": self.query.shape[3],
      "key": self.key.shape[1 if self.settings.token_major else 2],
    }
    given = self.places or Places(None, None, None, None)
    return Places(
      *(
        block(axis, n) if x is None else x
        for axis, (n, x) in enumerate(zip(sizes.values(), given, strict=True))
      )
    )

  def logits(self, grid: Grid, full: bool) -> Float[Array, "B H T S"]:
    """The logits of the tile; where it is full no mask is asked."""
    precision = self.settings.precision
    if self.settings.token_major:
      scores = scores_in_place(self.query, self.key, precision)
    else:
      scores = self.scoring.score(self.query, self.key, precision)
    batch, shared_heads, group, *rest = scores.shape
    scores = scores.reshape(batch, shared_heads * group, *rest)

    seen: Bool[Array, ...] | None
    seen = None if full else seen_by(self.rules, grid)
    if isinstance(grid, _GridOfAllHeads):
      seen = grid.own if seen is None else seen & grid.own
    if self.chosen is not None:
      places = self.chosen[..., None, :]
      counts = (grid.key_index[..., None] == places).any(-1)
      seen = counts if seen is None else seen & counts

    return logits(scores, self.rules, grid, seen)

  def weighted_values(
    self, weights: Float[Array, "B H T S"], grid: Grid
  ) -> Float[Array, "B H T E"]:
    """Σ_s weight[t, s] value[s] over the tile, after dropout."""
    if self.dropout_words is not None:
      rate, shared = self.settings.dropout_rate, self.settings.dropout_shared
      keep = kept(self.dropout_words, rate, grid, shared)
      weights = jnp.where(keep, weights / (1 - rate), 0)

    value = self.value.astype(weights.dtype)
    if self.settings.token_major:
      return read_in_place(weights, value, self.settings.precision)

    batch, shared_heads = value.shape[:2]
    _, heads, length, keys = weights.shape
    # The G query heads of a key head are rows of one matrix product.
    rows = heads // shared_heads * length
    out = jnp.einsum(
      "bkts,bkse->bkte",
      weights.reshape(batch, shared_heads, rows, keys),
      value,
      precision=self.settings.precision,
    )
    return out.reshape(batch, heads, length, out.shape[-1])


def bounded(call: Call, shape: tuple[int, int, int, int]) -> Rules:
  """The rules of a call that is padded to a shape: they hide the padding."""
  if shape == call.shape:
    return call.rules
  extent, mask = BlockPadding(*call.shape[2:]), call.rules.mask
  return call.rules._replace(mask=extent if mask is None else mask & extent)


def subscripts_of(letters: Subscripts, x) -> Subscripts | None:
  """The subscripts of an array: a dot for an axis of size 1, which broadcasts.

  >>> import numpy as np
  >>> subscripts_of("bhts", np.ones((2, 1, 5, 7)))
  'b.ts'
  """
  if x is None:
    return None
  return "".join(
    "." if size == 1 else axis
    for axis, size in zip(letters, x.shape, strict=True)
  )


def select_top_k(
  operands: CallOperands, sweep: Sweep, count: int
) -> CallOperands:
  """The operands with the places of the `count` largest logits of each row.

  They are found in a walk of their own, in O(T count) memory, and remembered by
  place: a logit computed again may differ in its last bit, a place does not.
  """
  batch, heads, length, _ = operands.settings.shape
  fixed = lax.stop_gradient(operands)
  tree = fixed.tile_structure()
  size = (batch, heads, length, count)
  in_order = operands.settings.subscripts is None
  start = [
    jnp.full(size, -jnp.inf, operands.settings.dtype),
    jnp.full(size, -1, jnp.int32),
  ]

  def step(full, tile, parts, held):
    part = jax.tree.unflatten(tree, parts)
    grid = part.grid(tile)
    logits = part.logits(grid, full)
    places = jnp.broadcast_to(grid.key_index, logits.shape)

    # What is held comes first: of equal logits the first place stays.
    every = jnp.concatenate([held[0], logits], axis=-1)
    places = jnp.concatenate([held[1], places], axis=-1)
    if not in_order:  # keys of other devices come in any order
      places, every = lax.sort((places, every), num_keys=1)

    top, index = lax.top_k(every, count)
    return [top, jnp.take_along_axis(places, index, axis=-1)]

  # Full tiles are no kind of their own here, so that places come in order.
  mixed = jnp.minimum(jnp.asarray(sweep.codes), MIXED)
  kinds = tuple(sorted({min(kind, MIXED) for kind in sweep.kinds}))
  sweep = sweep._replace(codes=mixed, kinds=kinds)

  _, chosen = fold(
    step,
    sweep,
    jax.tree.leaves(fixed),
    fixed.subscripts(),
    start,
    ["bht."] * 2,
  )
  return dataclasses.replace(operands, chosen=chosen)
