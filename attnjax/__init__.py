"""attnjax: a functional research codebase for attention, in JAX and Flax."""

from attnjax import (
  cache,
  glimpses,
  masks,
  memory,
  moved,
  normalizers,
  patterns,
  positions,
  score_mods,
  scoring,
  slots,
)
from attnjax.ops.attention import (
  Aux,
  Blockwise,
  Explanation,
  Partial,
  Verdict,
  attend,
  attention_weights,
  dot_product_attention,
  explain,
  merge,
)
from attnjax.ops.glimpse import glimpse
from attnjax.ops.multi_head import multi_head_attention, self_attention

__all__ = [
  "Aux",
  "Blockwise",
  "Explanation",
  "Partial",
  "Verdict",
  "attend",
  "attention_weights",
  "cache",
  "dot_product_attention",
  "explain",
  "glimpse",
  "glimpses",
  "masks",
  "memory",
  "merge",
  "multi_head_attention",
  "normalizers",
  "patterns",
  "positions",
  "score_mods",
  "scoring",
  "self_attention",
  "slots",
]

__version__ = "0.1.0"

moved.install()
