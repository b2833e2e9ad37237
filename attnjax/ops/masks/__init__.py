"""Masks: which keys a query may see.

A mask is a frozen pytree that is evaluated pointwise (``mask(b, h, q, k)``), by
tile (``mask.tile``: must it be computed at all?) and as a picture. Its
hyper-parameters are static; arrays (lengths, segment ids, captured arrays) are
leaves, which may be traced and vmapped.

Masks are functions of positions, not of array indices: ``causal()`` is the same
object in training, in decoding with a cache and on a permuted shard. Padding is
a matter of the arrays, so its masks go by index: `lengths`, and any boolean
array that is composed with a mask, as in ``causal() & array``.
"""

from attnjax.ops.masks.checking import check
from attnjax.ops.masks.functions import from_fn
from attnjax.ops.masks.neighborhood import neighborhood
from attnjax.ops.masks.padding import lengths
from attnjax.ops.masks.protocol import Mask, Tile
from attnjax.ops.masks.rules import (
  causal,
  chunked,
  dilated,
  full,
  prefix,
  query_prefix,
  sliding_window,
)
from attnjax.ops.masks.tables import dense, segments

__all__ = [
  "Mask",
  "Tile",
  "causal",
  "check",
  "chunked",
  "dense",
  "dilated",
  "from_fn",
  "full",
  "lengths",
  "neighborhood",
  "prefix",
  "query_prefix",
  "segments",
  "sliding_window",
]
