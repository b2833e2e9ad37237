"""Attention tile by tile, in plain JAX: O(T) memory under every transform."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.attention.arguments import Aux, Call
from attnjax.ops.attention.block_sizes import (
  Blocks,
  choose_blocks,
  padded,
  tile_cost,
)
from attnjax.ops.attention.decode import (
  keys_read_at_once,
  reads_keys_in_place,
)
from attnjax.ops.attention.explicit_sharding import (
  found_by_device,
  refusal,
  split_of,
)
from attnjax.ops.attention.live_tiles import (
  area_of,
  decide_heads,
  live_tiles,
)
from attnjax.ops.attention.logits import Rules
from attnjax.ops.attention.online_softmax import (
  as_called,
  finished,
  online_softmax,
)
from attnjax.ops.attention.tile_operands import (
  CallOperands,
  Places,
  bounded,
  select_top_k,
)
from attnjax.ops.masks.algebra import static_part
from attnjax.ops.masks.functions import notes_of_functions
from attnjax.ops.masks.padding import BlockPadding
from attnjax.ops.normalizers import Normalizer
from attnjax.ops.scoring import Scoring
from attnjax.ops.target import target_platform
from attnjax.ops.tiles import Sweep
from attnjax.typing import Array, Float

__all__ = ["Blockwise"]

# Documents a row is assumed to hold where a mask is known at run time only, and
# the least tokens of one.
_DOCUMENTS, _LEAST = 8, 256


@dataclasses.dataclass(frozen=True)
class Blockwise:
  """Online softmax over the tiles that a mask leaves.

  The forward pass, every derivative of every order, and each of their batches
  walk the same list of tiles; tiles that hold nothing are not computed, and
  tiles that hide nothing skip the mask.

  Args:
    query_block: queries a tile; None chooses by platform, number of threads,
      shapes and mask.
    key_block: keys a tile; None chooses.
    head_block: query heads a tile, whole key heads or an equal part of one's;
      None chooses. None of these changes what is computed.

  Raises:
    ValueError: if a size is below 1, or heads cannot be cut so.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> import attnjax
  >>> x = jax.random.normal(jax.random.key(0), (7, 1, 4))
  >>> small = attnjax.Blockwise(query_block=2, key_block=3)
  >>> out = attnjax.attend(x, x, x, implementation=small)
  >>> dense = attnjax.attend(x, x, x, implementation="reference")
  >>> bool(jnp.allclose(out, dense, atol=1e-6))
  True

  Reference:
    Milakov, Gimelshein, "Online normalizer calculation for softmax", 2018,
    arXiv 1805.02867; Rabe, Staats, "Self-attention Does Not Need O(n²) Memory",
    2021, arXiv 2112.05682; Dao et al., "FlashAttention", 2022, arXiv
    2205.14135.
  """

  query_block: int | None = None
  key_block: int | None = None
  head_block: int | None = None

  def __post_init__(self):
    """Sizes are positive."""
    for name in ("query_block", "key_block", "head_block"):
      size = getattr(self, name)
      if size is not None and (not isinstance(size, int) or size < 1):
        raise ValueError(
          f"Blockwise: {name} must be a Python int >= 1, or None to let it be"
          f" chosen, got {size!r}"
        )

  def refuses(self, call: Call) -> str | None:
    """Why it cannot honour a call; None if it can."""
    if not all(isinstance(size, int) for size in call.shape):
      return f"tiles are cut of sizes that are known, not of {call.shape}"
    divided = refusal(call)
    if divided is not None:
      return divided
    if "weights" in call.aux:
      return (
        "aux 'weights' are T x S (attention_weights gives chosen rows of them)"
      )
    for name, kind in (("normalizer", Normalizer), ("scoring", Scoring)):
      if type(getattr(call, name)).__call__ is not kind.__call__:
        return f"this {name} is defined on whole rows only"
    return None

  def describes(self, call: Call) -> str:
    """How it computes a call: its tiles, as far as they are known now."""
    blocks, split = self.blocks(call), split_of(call)
    rows = "" if blocks.rows == 1 else f"{blocks.rows} rows x "
    heads = f"{blocks.heads} head{'s' if blocks.heads != 1 else ''} x "
    shape = padded(call.shape, blocks)

    rules, notes = bounded(call, shape), []
    if call.rules.mask is not None:
      positions = call.query_positions, call.key_positions
      area = area_of(shape, blocks, positions=positions)
      area = BlockPadding(*call.shape[2:]).narrowed(area)
      notes = notes_of_functions(call.rules.mask, area)

    rule = rules.mask
    if (rule is not None and not rule.is_static) or call.positioned:
      found = "decided when it runs"
    else:
      some, every = decide_heads(shape, blocks, rules)
      # Of the first row of the batch, and of each head where they differ.
      some, every = some[0], every[0]
      found = f"{some.sum()} of {some.size} hold something, {every.sum()} whole"

    said = f"tiles of {rows}{heads}{blocks.query} x {blocks.key}: {found}"
    return "; ".join([said, *notes, *([] if split is None else [str(split)])])

  # Compiled once also where the caller does not: a loop without `jit` would be
  # traced anew at each call.
  @functools.partial(jax.jit, static_argnums=0)
  def __call__(self, call: Call) -> tuple[Float[Array, "B T H E"], Aux]:
    """(out, aux) of the whole call: the tiles are chosen and walked."""
    blocks, split = self.blocks(call), split_of(call)

    if split is None:
      operands = CallOperands.of(call, blocks)
      sweep = live_tiles(
        operands.settings.shape,
        blocks,
        operands.rules,
        operands.query_positions,
        operands.key_positions,
      )
      if call.normalizer.keep is not None:
        keep = min(call.normalizer.keep, call.shape[3])  # there are no more
        operands = select_top_k(operands, sweep, keep)
      found = online_softmax(sweep.uncoded, sweep.codes, operands)
      out, aux = finished(call, found)
    else:
      out, aux = found_by_device(call, blocks, split, _walked)

    return as_called(call, out, aux)

  def blocks(self, call: Call) -> Blocks:
    """The blocks of a call."""
    split = split_of(call)
    own = call.shape if split is None else split.local(call.shape)
    group = call.group if split is None else split.group(call)
    platform = target_platform(*jax.tree.leaves(call))

    in_place = self.head_block is None and reads_keys_in_place(call)
    if in_place and platform == "cpu" and min(own):
      return Blocks(
        1,
        own[1],
        min(self.query_block or own[2], own[2]),
        min(self.key_block or keys_read_at_once(call.key, own[3]), own[3]),
        group,
      )

    rule = call.rules.mask
    apart = rule is not None and rule.differs_by_head

    @functools.cache
    def live(query: int, key: int, heads: int) -> float:
      blocks = Blocks(max(own[0], 1), max(heads, 1), query, key, call.group)
      shape = padded(own, blocks)
      some, _ = decide_heads(shape, blocks, _assumed_rules(call, shape))
      count = (shape[2] // query) * (shape[3] // key)
      return count * np.count_nonzero(some) / max(some.size, 1)

    return choose_blocks(
      own,
      group=group,
      width=call.query.shape[-1],
      cost=tile_cost(platform),
      footprint=call.footprint,
      live=live if apart else lambda t, s, _: live(t, s, own[1]),
      query=self.query_block,
      key=self.key_block,
      head=own[1] or None if in_place else self.head_block,
    )


def _walked(
  call: Call, sweep: Sweep, batch: Array, head: Array
) -> tuple[Float[Array, "B H T E"], Aux]:
  """(out, aux) of the part of a call that is on a device.

  Args:
    call: the part.
    sweep: its tiles.
    batch: indices of its batch rows in the whole.
    head: the same of its heads.
  """
  length, keys = padded(call.shape, sweep.blocks)[2:]
  index = lambda size: jnp.arange(size, dtype=jnp.int32)
  places = Places(batch, head, index(length), index(keys))
  operands = CallOperands.of(call, sweep.blocks, places)
  if call.normalizer.keep is not None:
    keep = min(call.normalizer.keep, call.shape[3])  # there are no more
    operands = select_top_k(operands, sweep, keep)
  return finished(call, online_softmax(sweep.uncoded, sweep.codes, operands))


def _assumed_rules(call: Call, shape: tuple[int, int, int, int]) -> Rules:
  """Rules without traced arrays, by which the sizes of tiles are chosen.

  What arrays hide is known when the program runs. It is assumed to be as in a
  row of packed documents of equal length: so tiles become small enough to be
  skipped, where that costs less than it saves.

  Args:
    call: the whole.
    shape: ``B H T S``, padded to whole tiles.
  """
  mask, segments = call.rules.mask, call.rules.query_segment_ids
  rules = bounded(call, shape)
  rules = Rules(mask=static_part(rules.mask))
  if call.query_positions is not None and shape[3] >= 2 * shape[2]:
    # Some tokens against the cache of all before them: positions may stand
    # anywhere, and the last of them see most keys.
    rules = Rules()
  # Also of a function that says nothing of tiles when the program runs.
  known = mask is None or mask.is_static or not mask.tiles_at_run_time
  if segments is None and known:
    return rules

  # The same number of documents on both sides, whatever the lengths.
  count = max(min(_DOCUMENTS, min(shape[2:]) // _LEAST), 1)
  queries, keys = (
    (np.arange(size) * count // max(size, 1))[None] for size in shape[2:]
  )
  return rules._replace(query_segment_ids=queries, key_segment_ids=keys)
