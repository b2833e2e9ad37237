"""What becomes of a score: the one order in which the rules of a call apply."""

from typing import NamedTuple

import jax.numpy as jnp

from attnjax.ops.grid import Grid, row
from attnjax.ops.masks import Mask
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
    scores = _modified(rules.score_mod, scores, seen, grid)
  if rules.bias is not None:
    scores = scores + rules.bias.astype(scores.dtype)
  return scores if seen is None else jnp.where(seen, scores, -jnp.inf)


def seen_by(rules: Rules, grid: Grid) -> Bool[Array, "..."] | None:
  """Which keys each query may see by all the rules; None is every key."""
  seen = None if rules.mask is None else rules.mask.visible(grid)
  same = _same_segment(rules)
  if same is None or seen is None:
    return seen if same is None else same
  return seen & same


def _same_segment(rules: Rules) -> Bool[Array, "..."] | None:
  """Which query and key are of one segment; None without segments."""
  if rules.query_segment_ids is None or rules.key_segment_ids is None:
    return None
  queries = row(rules.query_segment_ids, 4, query=True)
  return queries == row(rules.key_segment_ids, 4, query=False)


def _modified(mod: ScoreMod, scores, seen, grid: Grid):
  """Logits after the score mod.

  A mod may be undefined where a key is hidden (the log of a distance ahead),
  and the gradient of a NaN is NaN even where it is not taken. So hidden places
  are asked about logit 0 at distance 0.
  """
  key_position = grid.key_position
  if seen is not None:
    scores = jnp.where(seen, scores, 0)
    key_position = jnp.where(seen, key_position, grid.query_position)
  at = (grid.batch, grid.head, grid.query_position, key_position)
  return _as_logits(mod(scores, *at), scores)


def _as_logits(found, scores):
  """What a mod returned, as logits: it may depend on positions alone."""
  found = jnp.asarray(found)
  if not jnp.issubdtype(found.dtype, jnp.floating):
    raise ValueError(
      f"score_mod: expected logits, which are floating, got {found.dtype};"
      " what hides keys is a mask: mask=masks.from_fn(...)"
    )
  try:
    return jnp.broadcast_to(found.astype(scores.dtype), scores.shape)
  except ValueError:
    raise ValueError(
      f"score_mod: expected logits that broadcast to those it was given, of"
      f" shape {scores.shape}, got {found.shape}; the arguments broadcast so"
    ) from None
