"""What becomes of a score: the one order in which the rules of a call apply."""

from typing import NamedTuple

import jax.numpy as jnp

from attnjax.ops.attention.modified import modified
from attnjax.ops.grid import Grid, row
from attnjax.ops.masks import Mask
from attnjax.ops.masks.arrays import is_open
from attnjax.ops.score_mods import ScoreMod
from attnjax.typing import Array, Bool, Float, Int

__all__ = ["Rules", "logits", "seen_by"]


class Rules(NamedTuple):
  """What a call says of its logits; None says nothing.

  A key must pass the mask, and be of the query's segment. Boolean arrays in the
  mask are ``#B #H #T #S``.
  """

  mask: Mask | None = None
  bias: Float[Array, "#B #H #T #S"] | None = None
  score_mod: ScoreMod | None = None
  query_segment_ids: Int[Array, "#B T"] | None = None
  key_segment_ids: Int[Array, "#B S"] | None = None


def logits(
  scores: Float[Array, "B H T S"],
  rules: Rules,
  grid: Grid,
  seen: Bool[Array, "..."] | None,
) -> Float[Array, "B H T S"]:
  """The score, then score_mod, then + bias, then -inf for what is not seen."""
  if rules.score_mod is not None:
    scores = modified(rules.score_mod, scores, seen, grid)
  if rules.bias is not None:
    scores = scores + rules.bias.astype(scores.dtype)
  if seen is None:
    return scores
  scores, lost = jnp.where(seen, scores, -jnp.inf), _lost(rules, grid)
  return scores if lost is None else jnp.where(lost, jnp.nan, scores)


def seen_by(rules: Rules, grid: Grid) -> Bool[Array, "..."] | None:
  """Which keys each query may see by all the rules; None is every key."""
  seen = None if rules.mask is None else rules.mask.visible(grid)
  same = _same_segment(rules)
  if same is None or seen is None:
    return seen if same is None else same
  return seen & same


def _lost(rules: Rules, grid: Grid) -> Bool[Array, "..."] | None:
  """Which pairs have no answer: outside of a table, and hidden by nothing."""
  if rules.mask is None or not is_open(rules.mask):
    return None
  some, every = rules.mask.between(grid)
  lost, same = some & (every ^ True), _same_segment(rules)
  return lost if same is None else lost & same


def _same_segment(rules: Rules) -> Bool[Array, "..."] | None:
  """Which query and key are of one segment; None without segments."""
  if rules.query_segment_ids is None or rules.key_segment_ids is None:
    return None
  queries = row(rules.query_segment_ids, 4, query=True)
  return queries == row(rules.key_segment_ids, 4, query=False)
