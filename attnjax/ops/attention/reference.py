"""Attention as it is defined: every logit at once, O(T S) memory.

It honours the whole contract at any precision, and under float64 it is the
oracle that other implementations are held against.
"""

import jax
import jax.numpy as jnp

from attnjax.ops.attention.call import Aux, Call
from attnjax.ops.grid import Grid
from attnjax.ops.score_mods import ScoreMod
from attnjax.typing import Array, Float

__all__ = ["logits", "reference"]


def reference(call: Call) -> tuple[Float[Array, "*B T H E"], Aux]:
  """out[t, h] = Σ_s w[h, t, s] value[s, h // G]."""
  scores = logits(call)
  weights, logsumexp = call.normalizer(scores)
  *batch, heads, length, keys = call.shape
  shared = call.key.shape[-2]
  grouped = weights.reshape((*batch, shared, call.group, length, keys))
  value = call.value.astype(call.logits_dtype)
  out = jnp.einsum(
    "...kgts,...ske->...tkge", grouped, value, precision=call.precision
  )
  out = out.reshape((*batch, length, heads, call.value.shape[-1]))
  return out.astype(call.value.dtype), _aux(call, scores, weights, logsumexp)


def logits(call: Call) -> Float[Array, "*B H T S"]:
  """scoring, then score_mod, then + bias, then the mask as -inf."""
  scores = _scores(call)
  grid = call.grid()
  visible = _visible(call, grid)
  if call.score_mod is not None:
    scores = _modified(call.score_mod, scores, visible, grid)
  if call.bias is not None:
    scores = scores + call.bias.astype(scores.dtype)
  return scores if visible is None else jnp.where(visible, scores, -jnp.inf)


def _visible(call: Call, grid: Grid):
  """Which keys each query may see by all the rules; None is every key."""
  visible = None if call.mask is None else call.mask.visible(grid)
  for rule in (call.visible, call.same_segment()):
    if rule is not None:
      visible = rule if visible is None else visible & rule
  return visible


def _modified(mod: ScoreMod, scores, visible, grid: Grid):
  """Logits after the score mod.

  A mod may be undefined where a key is hidden (the log of a distance ahead),
  and the gradient of a NaN is NaN even where it is not taken. So hidden places
  are asked about logit 0 at distance 0.
  """
  key_position = grid.key_position
  if visible is not None:
    scores = jnp.where(visible, scores, 0)
    key_position = jnp.where(visible, key_position, grid.query_position)
  return mod(scores, grid.batch, grid.head, grid.query_position, key_position)


def _scores(call: Call) -> Float[Array, "*B H T S"]:
  """The bare scores, query heads grouped by the key head that serves them."""
  *batch, length, _, width = call.query.shape
  shared = call.key.shape[-2]
  query = call.query.astype(call.logits_dtype)
  query = query.reshape((*batch, length, shared, call.group, width))
  query = jnp.moveaxis(query, -4, -2)  # ... K G T D
  key = jnp.moveaxis(call.key.astype(call.logits_dtype), -3, -2)  # ... K S D
  return call.scoring(query, key, call.precision).reshape(call.shape)


def _aux(call: Call, scores, weights, logsumexp) -> Aux:
  """Computes the extra results that were asked for, and no other."""
  asked = {}
  if "logsumexp" in call.aux:
    asked["logsumexp"] = logsumexp
  if "weights" in call.aux:
    asked["weights"] = weights
  if "entropy" in call.aux:
    # -Σ w log w; where the weight is 0 so is its share, in value and gradient.
    held = weights > 0
    log = jnp.log(jnp.where(held, weights, 1))
    asked["entropy"] = -jnp.sum(weights * log, axis=-1)
  if "max_logit" in call.aux:
    largest = jnp.max(scores, axis=-1, initial=-jnp.inf)
    # A bias of -inf hides too: such a row has no largest logit to move.
    asked["max_logit"] = jnp.where(
      jnp.isneginf(largest), jax.lax.stop_gradient(largest), largest
    )
  return Aux(**asked)
