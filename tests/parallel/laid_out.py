"""A sharded attention as the conformance suite calls attention: in order.

The suite knows no layout, and lengths of its own. So tokens are padded to what
divides, permuted, attended to, put back and cut, as a user would once a batch.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import attnjax
from attnjax import masks, parallel
from attnjax.parallel.token_layouts import spans_per_shard

LAYOUTS = ("contiguous", "zigzag", "striped")
KINDS = {
  "ring": parallel.RingAttention,
  "gather": parallel.AllGatherAttention,
  "ulysses": parallel.UlyssesAttention,
}


def devices(**axes):
  """A mesh over as many of the devices as its axes take."""
  count = int(np.prod(list(axes.values())))
  return parallel.make_mesh(jax.devices()[:count], **axes)


def sharded(kind, layout, **axes):
  """An attention over the axis "sequence"; others divide batch and heads."""
  names = {n: n for n in ("batch", "heads") if n in axes}
  return KINDS[kind](devices(**axes), "sequence", layout, **names)


@dataclasses.dataclass(frozen=True)
class LaidOut:
  """Called like `attend`, in blocks that cut the lengths of the suite."""

  attention: parallel.RingAttention
  repeat: int = 1  # of key heads, where their number does not divide
  engine: attnjax.Blockwise = attnjax.Blockwise(4, 8, 1)

  def __call__(self, query, key, value, **options):
    length, keys = query.shape[-3], key.shape[-3]
    pieces = self.attention.mesh.shape["sequence"]
    pieces *= spans_per_shard(self.attention.layout)
    up = lambda n: max(-(-n // pieces), 1) * pieces
    sizes = {"t": (length, up(length)), "s": (keys, up(keys))}
    lay = lambda x, axes: self._laid(x, axes, sizes)
    if (up(length), up(keys)) != (length, keys):
      options["mask"] = self._bounded(options.get("mask"), length, keys)
    for name, axes in (
      ("bias", "ts"),
      ("query_positions", "t"),
      ("key_positions", "s"),
      ("query_segment_ids", "t"),
      ("key_segment_ids", "s"),
    ):
      x = options.get(name)
      if name.endswith("positions") and self.attention.layout != "contiguous":
        x = np.arange(sizes[axes][0], dtype=np.int32) if x is None else x
      if x is not None:
        options[name] = lay(x, axes)
    if options.get("mask") is not None:
      mask = options["mask"]
      options["mask"] = (
        mask if isinstance(mask, masks.Mask) else lay(mask, "ts")
      )
    if self.repeat > 1:
      key, value = (jnp.repeat(x, self.repeat, -2) for x in (key, value))
    options.setdefault("implementation", self.engine)
    found = self.attention(
      lay(query, "t.."), lay(key, "s.."), lay(value, "s.."), **options
    )
    out, aux = found if isinstance(found, tuple) else (found, None)
    back = lambda x, axis: jax.lax.slice_in_dim(
      self.attention.unpermute(x, axis), 0, length, axis=axis % x.ndim
    )
    out = back(out, -3)
    return (
      out if aux is None else (out, jax.tree.map(lambda x: back(x, -1), aux))
    )

  def _laid(self, x, axes, sizes):
    """An array padded and permuted along its last axes; known stays known."""
    if not isinstance(x, jax.core.Tracer):
      x = np.asarray(x)
    numpy = np if isinstance(x, np.ndarray) else jnp
    for axis, place in zip(reversed(axes), range(-1, -9, -1), strict=False):
      if axis == "." or x.ndim < -place:
        continue
      old, new = sizes[axis]
      if x.shape[place] != old or (old == 1 and len(axes) == 2):
        continue  # one for all
      widths = [(0, 0)] * x.ndim
      widths[place] = (0, new - old)
      x = self.attention.permute(numpy.pad(x, widths), place)
    return x

  def _bounded(self, mask, length, keys):
    """A mask that hides what is padded, which no table has to cover."""
    if mask is None or isinstance(mask, masks.Mask):
      bound = masks.lengths(query=length, key=keys)
      return bound if mask is None else mask & bound
    # An array: what is padded to it is false, once it has all the keys.
    return jnp.broadcast_to(mask, (*mask.shape[:-1], keys))
