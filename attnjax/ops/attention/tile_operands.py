"""What a tile of a call reads: its arrays, laid out so that tiles cut them."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attnjax.ops.attention.arguments import Call
from attnjax.ops.attention.block_sizes import Blocks, pad, padded
from attnjax.ops.attention.dropout import kept
from attnjax.ops.attention.logits import Rules, logits, seen_by
from attnjax.ops.grid import Grid, row
from attnjax.ops.masks.arrays import realigned
from attnjax.ops.masks.padding import BlockPadding
from attnjax.ops.node import node, static
from attnjax.ops.normalizers import Normalizer
from attnjax.ops.scoring import Scoring
from attnjax.ops.tiles import MIXED, Layout, Sweep, fold
from attnjax.typing import Array, Float, PrecisionLike

__all__ = ["Form", "Places", "Reading", "along", "bounded", "select"]


class Places(NamedTuple):
  """The indices, in the whole call, of the parts of it that are here."""

  batch: Any  # B
  head: Any  # H
  query: Any  # T
  key: Any  # S


class Form(NamedTuple):
  """What is known of a reading before its arrays are."""

  shape: tuple[int, int, int, int]  # B H T S, padded
  blocks: Blocks
  dtype: jnp.dtype  # of the logits
  rate: float
  shared: bool  # the dropout of all batch rows and heads is one
  precision: PrecisionLike
  aux: tuple[str, ...]
  # Of a part of a call: as of the whole, where no axis of size 1 is a part.
  layouts: tuple[Layout, ...] | None = None


@node
class Reading:
  """Arrays of a call, padded to whole tiles; also those of one tile."""

  # Any, for their layouts stand in the same places.
  query: Any  # B K G T A
  key: Any  # B K S A
  value: Any  # B K S E
  rules: Rules
  scoring: Scoring
  normalizer: Normalizer
  query_positions: Any  # #B T, or None
  key_positions: Any  # #B S, or None
  words: Any  # of dropout, or None
  chosen: Any  # B H T N, the keys that count; None is all
  places: Places | None  # None where all of the call is here
  form: Form = static()

  @classmethod
  def of(
    cls, call: Call, blocks: Blocks, places: Places | None = None
  ) -> "Reading":
    """The reading of a call, or of the rows and heads of it that are here."""
    shape = padded(call.shape, blocks)
    reading = cls.unpadded(call, blocks, shape, places)
    sizes = {"t": shape[2], "s": shape[3]}
    layouts = reading.layouts()
    return jax.tree.map(lambda x, y: pad(x, y, sizes), reading, layouts)

  @classmethod
  def unpadded(
    cls,
    call: Call,
    blocks: Blocks,
    shape: tuple[int, int, int, int],
    places: Places | None = None,
  ) -> "Reading":
    """The reading of a call, to be padded to a shape."""
    query, key, value = call.prepared()
    return cls(
      query=query,
      key=key,
      value=value,
      rules=bounded(call, shape),
      scoring=call.scoring,
      normalizer=call.normalizer,
      query_positions=call.query_positions,
      key_positions=call.key_positions,
      words=call.dropout_words,
      chosen=None,
      places=places,
      form=Form(
        shape,
        blocks,
        call.logits_dtype,
        call.dropout_rate,
        call.dropout_shared,
        call.precision,
        call.aux,
      ),
    )

  def layouts(self) -> "Reading":
    """The layout of each array, in its place."""
    if self.form.layouts is not None:
      tree = jax.tree.structure(dataclasses.replace(self, chosen=None))
      known = jax.tree.unflatten(tree, self.form.layouts)
      return dataclasses.replace(known, chosen=along("bht.", self.chosen))
    whole = jax.tree.map(lambda x: "", self)
    aligned = lambda x: along("bhts", x)
    mask = realigned(aligned, self.rules.mask, otherwise=lambda x: "")
    rules = whole.rules._replace(
      mask=mask,
      bias=along("bhts", self.rules.bias),
      query_segment_ids=along("bt", self.rules.query_segment_ids),
      key_segment_ids=along("bs", self.rules.key_segment_ids),
    )
    return dataclasses.replace(
      whole,
      query="bh.t.",
      key="bhs.",
      value="bhs.",
      rules=rules,
      query_positions=along("bt", self.query_positions),
      key_positions=along("bs", self.key_positions),
      chosen=along("bht.", self.chosen),
      places=None if self.places is None else Places(*"bhts"),
    )

  @property
  def shares(self) -> bool:
    """Whether the keys of a row share its weight, as in a softmax."""
    return self.normalizer.weigh(jnp.zeros(())) is None

  def grid(self, tile) -> Grid:
    """The coordinates of a tile's logits."""
    places = self._here(tile) if self.places is None else self.places
    query_index = row(places.query, 4, query=True)
    key_index = row(places.key, 4, query=False)
    query, key = self.query_positions, self.key_positions
    return Grid(
      batch=places.batch.reshape(-1, 1, 1, 1),
      head=places.head.reshape(1, -1, 1, 1),
      query_position=query_index
      if query is None
      else row(query, 4, query=True),
      key_position=key_index if key is None else row(key, 4, query=False),
      query_index=query_index,
      key_index=key_index,
    )

  def _here(self, tile) -> Places:
    """Of a tile of a call that is here as a whole."""
    size = self.form.blocks
    along = lambda axis, n: tile[axis] * n + jnp.arange(n, dtype=jnp.int32)
    return Places(
      batch=along(0, size.rows),
      head=jnp.arange(self.form.shape[1], dtype=jnp.int32),
      query=along(1, size.query),
      key=along(2, size.key),
    )

  def logits(self, grid: Grid, full: bool) -> Float[Array, "B H T S"]:
    """Of one tile; a full one asks no mask."""
    scores = self.scoring.score(self.query, self.key, self.form.precision)
    heads = self.form.shape[1]
    scores = scores.reshape(scores.shape[0], heads, *scores.shape[-2:])
    seen = None if full else seen_by(self.rules, grid)
    if self.chosen is not None:
      places = self.chosen[..., None, :]
      counts = (grid.key_index[..., None] == places).any(-1)
      seen = counts if seen is None else seen & counts
    return logits(scores, self.rules, grid, seen)

  def read(self, weights: Float[Array, "B H T S"], grid: Grid):
    """Values of a tile, ``B H T E``, by weights that dropout thins."""
    if self.words is not None:
      rate = self.form.rate
      keep = kept(self.words, rate, grid, self.form.shared)
      weights = jnp.where(keep, weights / (1 - rate), 0)
    batch, shared = self.value.shape[:2]
    _, heads, length, keys = weights.shape
    grouped = weights.reshape(batch, shared, heads // shared * length, keys)
    out = jnp.einsum(
      "bkts,bkse->bkte",
      grouped,
      self.value.astype(weights.dtype),
      precision=self.form.precision,
    )
    return out.reshape(batch, heads, length, out.shape[-1])


def bounded(call: Call, shape: tuple[int, int, int, int]) -> Rules:
  """The rules of a call that is padded to a shape: they hide what is padded."""
  if shape == call.shape:
    return call.rules
  extent, mask = BlockPadding(*call.shape[2:]), call.rules.mask
  return call.rules._replace(mask=extent if mask is None else mask & extent)


def along(layout: Layout, x) -> Layout | None:
  """The layout of an array, but for the axes on which it serves all alike."""
  if x is None:
    return None
  return "".join(
    "." if size == 1 else axis
    for axis, size in zip(layout, x.shape, strict=True)
  )


def select(reading: Reading, sweep: Sweep, count: int) -> Reading:
  """The reading, with the places of the largest logits of each row.

  They are found in a walk of their own, in O(T count) memory, and remembered by
  place: a logit computed again may differ in its last bit, a place does not.
  """
  batch, heads, length, _ = reading.form.shape
  fixed = lax.stop_gradient(reading)
  operands, tree = jax.tree.flatten(fixed)
  size = (batch, heads, length, count)
  ordered = reading.form.layouts is None
  start = [
    jnp.full(size, -jnp.inf, reading.form.dtype),
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
    if not ordered:  # keys of other devices come in any order
      places, every = lax.sort((places, every), num_keys=1)
    top, index = lax.top_k(every, count)
    return [top, jnp.take_along_axis(places, index, axis=-1)]

  # Full tiles are no kind of their own here, so that places come in order.
  mixed = jnp.minimum(jnp.asarray(sweep.codes), MIXED)
  kinds = tuple(sorted({min(kind, MIXED) for kind in sweep.kinds}))
  sweep = sweep._replace(codes=mixed, kinds=kinds)
  layouts = jax.tree.leaves(fixed.layouts())
  _, chosen = fold(step, sweep, operands, layouts, start, ["b.t."] * 2)
  return dataclasses.replace(reading, chosen=chosen)
