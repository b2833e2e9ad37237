"""Masks: which keys a query may see.

A mask is a frozen pytree that is evaluated pointwise (``mask(b, h, q, k)``), by
tile (``mask.tile``: must it be computed at all?) and as a picture. Its
hyper-parameters are static; arrays (lengths, segment ids, captured arrays) are
leaves, which may be traced and vmapped.

Masks are functions of positions, not of array indices: ``causal()`` is the same
object in training, in decoding with a cache and on a permuted shard. Padding is
a matter of the arrays, so its masks go by index: `lengths`, and any boolean
array that is composed with a mask, as in ``causal() & array``.

  Mask: A mask: may the query at position q see the key at position k?
  Tile: How much of a tile of logits a mask shows: nothing, all or some.
  causal: A query sees keys at its own position and before: k <= q.
  check: Checks what a mask says of its tiles against what it shows.
  chunked: Block-diagonal local attention: q // size == k // size (floor).
  dense: A table of visible pairs, looked up by position and not by index.
  dilated: A query sees every stride-th key: (q - k) % stride == 0.
  from_fn: Any function as a mask: ``fn(b, h, q, k, *arrays) -> bool``,
    pointwise.
  full: Every query sees every key.
  lengths: Hides padding at the end: a query, or a key, at or past its length.
  neighborhood: A query sees the keys near it on a grid, as many at a border as
    within.
  prefix: Every query sees the first positions: k < length.
  query_prefix: The first queries see every key: q < length.
  segments: Packed documents by position: a query sees keys of its own segment.
  sliding_window: A query sees its neighbourhood: q - left <= k <= q + right.
"""

from attnjax.ops.masks import *  # noqa: F403
from attnjax.ops.masks import __all__ as __all__
