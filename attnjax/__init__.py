"""attnjax: a functional research codebase for attention, in JAX and Flax."""

from attnjax import (
  cache,
  masks,
  normalizers,
  positions,
  score_mods,
  scoring,
)
from attnjax.ops.attention import Aux, attend
from attnjax.ops.multi_head import multi_head_attention, self_attention

__all__ = [
  "Aux",
  "attend",
  "cache",
  "masks",
  "multi_head_attention",
  "normalizers",
  "positions",
  "score_mods",
  "scoring",
  "self_attention",
]

__version__ = "0.1.0"
