"""Score functions: a logit is changed by where it stands.

A score mod is a frozen pytree called as ``mod(logit, b, h, q, k) -> logit``:
batch row, query head, query position and key position, pointwise and
broadcasting. Arrays it captures are leaves, and gradients reach them.
"""

from attnjax.ops.score_mods.protocol import ScoreMod, compose, from_fn
from attnjax.ops.score_mods.relative import relative_bias
from attnjax.ops.score_mods.rules import alibi, softcap

__all__ = [
  "ScoreMod",
  "alibi",
  "compose",
  "from_fn",
  "relative_bias",
  "softcap",
]
