"""In which form kernels compute a call: how it is cut, and as what."""

import functools
from typing import NamedTuple

import jax

from attnjax.ops.attention.arguments import Call
from attnjax.ops.attention.block_sizes import Blocks, pad, padded
from attnjax.ops.attention.fused_blocks import (
  KernelBlocks,
  chip_of,
  kernel_blocks,
)
from attnjax.ops.attention.fused_decode import (
  decodes,
  keys_of_tile,
  side_by_side,
)
from attnjax.ops.attention.fused_visits import is_light, kinds_of_visits
from attnjax.ops.attention.index_masks import by_index
from attnjax.ops.attention.live_tiles import live_tiles
from attnjax.ops.attention.tile_operands import CallOperands, Places
from attnjax.ops.tiles import Sweep

__all__ = ["Form", "form_of"]


class Form(NamedTuple):
  """How a call, or the part of it that a device has, is cut into tiles.

  Args:
    chosen: queries and keys of a tile and of a visit.
    heads: query heads of a tile: one, or all of them as rows.
    group: query heads that share a key head.

  >>> from attnjax.ops.attention.fused_blocks import KernelBlocks
  >>> print(Form(KernelBlocks((512, 512), (2, 2)), 1, 1))
  blocks of 1024 x 1024 in tiles of 512 x 512
  """

  chosen: KernelBlocks
  heads: int
  group: int

  def __str__(self) -> str:
    """For people."""
    (queries, keys), tile = self.chosen.visit, self.chosen.tile
    if not self.decodes:
      return f"blocks of {queries} x {keys} in tiles of {tile[0]} x {tile[1]}"
    count = "one query" if queries == 1 else f"{queries} queries"
    return (
      f"{count} of all {self.heads} heads in tiles of {keys} tokens, which are"
      " read where they lie"
    )

  @property
  def decodes(self) -> bool:
    """Whether queries of all heads are rows of a tile."""
    return self.heads > 1

  @property
  def tile(self) -> Blocks:
    """What a tile has."""
    return Blocks(1, self.heads, *self.chosen.tile, self.group)

  @property
  def visit(self) -> Blocks:
    """What a visit has."""
    return Blocks(1, self.heads, *self.chosen.visit, self.group)

  def tiles_of(self, call: Call) -> Sweep:
    """The tiles of a call that is here as a whole."""
    whole = self._padded(call, None)
    return live_tiles(
      whole.settings.shape,
      self.tile,
      whole.rules,
      whole.query_positions,
      whole.key_positions,
      alike=True,
    )

  def operands_of(self, call: Call, places: Places | None) -> CallOperands:
    """The operands of a call.

    Args:
      call: or a part of one.
      places: where a part is in the whole.
    """
    operands = self._padded(by_index(call), places)
    return side_by_side(operands) if self.decodes else operands

  def _padded(self, call: Call, places: Places | None) -> CallOperands:
    """The operands of a call as it is, filled up to whole visits."""
    shape = padded(call.shape, self.visit)
    sizes = {"t": shape[2], "s": shape[3]}
    operands = CallOperands.unpadded(
      call, self.tile, shape, places, in_place=False
    )
    return operands.map(lambda x, axes: pad(x, axes, sizes))


def form_of(
  call: Call, heads: int, group: int, given: tuple[int | None, int | None]
) -> Form:
  """The form of a call on a TPU.

  Args:
    call: the whole.
    heads: of it that a device has.
    group: of these, how many share a key head.
    given: queries and keys of a visit that were asked for.
  """
  query, key = given
  if decodes(call, heads):
    keys = keys_of_tile(call, heads, group, key)
    return Form(KernelBlocks((call.shape[2], keys), (1, 1)), heads, group)
  chip = chip_of(*jax.tree.leaves(call))
  blocks = functools.partial(
    kernel_blocks,
    call.shape[2:],
    max(call.query.shape[-1], call.value.shape[-1]),
    chip,
    query=query,
    key=key,
  )
  of = lambda chosen: Form(chosen, 1, group)
  if not is_light(call):
    return of(blocks())

  whole, wide = blocks(most=chip.whole), blocks(most=chip.wide)
  kinds = kinds_of_visits(call, whole)
  if kinds == 0:
    return of(whole)
  if wide != whole:
    kinds = kinds_of_visits(call, wide)
  return of(blocks() if kinds is None else wide)
