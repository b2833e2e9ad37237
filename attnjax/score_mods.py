"""Score functions: a logit is changed by where it stands.

A score mod is a frozen pytree called as ``mod(logit, b, h, q, k) -> logit``:
batch row, query head, query position and key position, pointwise and
broadcasting. Arrays it captures are leaves, and gradients reach them.

  ScoreMod: Base of score mods: a new logit from a logit and its positions.
  alibi: Attention with linear biases: logit - slope[h] · |q - k|.
  compose: Composition of score mods: the first given is applied first.
  from_fn: Any function as a score mod: ``fn(logit, b, h, q, k, *arrays) ->
    logit``.
  relative_bias: T5's relative bias: logit + table[bucket(k - q), h].
  softcap: Soft cap of logits to ±cap: cap · tanh(logit / cap).
"""

from attnjax.ops.score_mods import *  # noqa: F403
from attnjax.ops.score_mods import __all__ as __all__
