"""Attention in plain dense JAX, in any dtype: the truth of every derivative.

Written for the suite, from the definition, and apart from `attnjax.ops`. In
float64 it is what derivatives are held against; in the dtype of a problem its
own error is the measure of what that dtype can do.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from attnjax.testing.parts import NORMALIZERS, SCORE_MODS, SCORINGS

__all__ = ["Form", "attention"]


class Form(NamedTuple):
  """What is static in a dense call."""

  scoring: str
  score_mod: str | None
  normalizer: str
  aux: tuple[str, ...]
  dropout_rate: float


def attention(form: Form, floats: dict, visible, where, kept=None) -> dict:
  """The output and aux by name, every logit at once.

  Args:
    form: which parts.
    floats: all differentiable arrays, by name.
    visible: bool ``*B H T S``.
    where: coordinates of the logits, batch row first.
    kept: bool ``*B H T S`` or None: which weights dropout leaves.
  """
  wide = any(x.dtype == jnp.float64 for x in floats.values())
  dtype = jnp.float64 if wide else jnp.float32
  x = {name: array.astype(dtype) for name, array in floats.items()}
  bias = x.get("bias")
  seen = visible
  if bias is not None:
    bias = jnp.broadcast_to(bias, visible.shape)
    seen = seen & ~jnp.isneginf(bias)
    bias = jnp.where(seen, bias, 0)
  logits = _modified(form, x, _scores(form, x), seen, where)
  if bias is not None:
    logits = logits + bias
  logits = jnp.where(seen, logits, 0)
  normalizer = NORMALIZERS[form.normalizer]
  captured = _captured("normalizer", normalizer.arrays, x)
  weights, logsumexp = normalizer.dense(logits, seen, *captured)
  read = weights
  if kept is not None:
    read = jnp.where(kept, weights / (1 - form.dropout_rate), 0)
  out = jnp.einsum("...hts,...hse->...the", read, _by_head(x, "value"))
  found = {"out": out.astype(floats["value"].dtype)}
  extra = _aux(logits, seen, weights) | {"logsumexp": logsumexp}
  return found | {name: extra[name] for name in form.aux}


def _by_head(x: dict, name: str):
  """Keys or values as the query heads see them: *B H S D."""
  heads = x["query"].shape[-2] // x[name].shape[-2]
  return jnp.moveaxis(jnp.repeat(x[name], heads, axis=-2), -2, -3)


def _scores(form: Form, x: dict):
  """The bare scores, *B H T S."""
  part = SCORINGS[form.scoring]
  query = jnp.moveaxis(x["query"], -2, -3)
  captured = _captured("scoring", part.arrays, x)
  return part.dense(query, _by_head(x, "key"), *captured)


def _modified(form: Form, x: dict, scores, seen, where):
  """After the score mod, which is not asked about what is hidden."""
  if form.score_mod is None:
    return scores
  part = SCORE_MODS[form.score_mod]
  b, h, q, k, *_ = where
  scores, k = jnp.where(seen, scores, 0), jnp.where(seen, k, q)
  captured = _captured("score_mod", part.arrays, x)
  return part.rule(jnp, scores, b, h, q, k, *captured)


def _captured(role: str, lines, x: dict) -> list:
  """The arrays that a part captures, in its own order."""
  names = [line.split(":")[0].removeprefix("+") for line in lines]
  return [x[f"{role} {name}"] for name in names]


def _aux(logits, seen, weights) -> dict:
  """Everything beside the output and the log-sum-exp."""
  some = weights > 0
  log = jnp.log(jnp.where(some, weights, 1))
  hidden = jnp.where(seen, logits, -jnp.inf)
  largest = jnp.max(hidden, axis=-1, initial=-jnp.inf)
  # A row that sees nothing has no largest logit that could move.
  largest = jnp.where(
    jnp.any(seen, axis=-1), largest, jax.lax.stop_gradient(largest)
  )
  return {
    "weights": weights,
    "entropy": -jnp.sum(weights * log, axis=-1),
    "max_logit": largest,
  }
