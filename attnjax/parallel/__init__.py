"""Sharded attention: `attend` over tokens divided among devices, any mask.

    mesh = parallel.make_mesh(data=2, sequence=4)
    ring = parallel.RingAttention(mesh, "sequence", "zigzag", batch="data")
    model = DecoderLM(..., attend=ring)
    tokens, positions = ring.permute(tokens), ring.permute(np.arange(T))

Masks, score mods and dropout are the same objects as on one device: they are
functions of positions, which are permuted with the tokens.
"""

from attnjax.parallel.attention import (
  AllGatherAttention,
  RingAttention,
  UlyssesAttention,
)
from attnjax.parallel.mesh import make_mesh
from attnjax.parallel.token_layouts import permute, unpermute

__all__ = [
  "AllGatherAttention",
  "RingAttention",
  "UlyssesAttention",
  "make_mesh",
  "permute",
  "unpermute",
]
