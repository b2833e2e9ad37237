"""Attention in float64 numpy, one query at a time: the slow truth."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.testing.parts import NORMALIZERS, SCORE_MODS, SCORINGS, array_names

__all__ = ["StaticOptions", "Truth", "attention", "dense_attention"]


class Truth(NamedTuple):
  """What attention is, in float64.

  out is ``*B T H E``, weights ``*B H T S``, the others ``*B H T``. The weights
  are those before dropout.
  """

  out: np.ndarray
  logsumexp: np.ndarray
  weights: np.ndarray
  entropy: np.ndarray
  max_logit: np.ndarray


def attention(
  query,
  key,
  value,
  *,
  visible=None,
  bias=None,
  scoring: str = "scaled_dot",
  score_mod: str | None = None,
  normalizer: str = "softmax",
  captured: dict | None = None,
  query_positions=None,
  key_positions=None,
  kept=None,
  dropout_rate: float = 0.0,
) -> Truth:
  """Attention as the definition says it, query by query, in float64.

      logit[h, t, s] = mod(scoring(query[t, h], key[s, h // G])) + bias[h, t, s]
      weight[h, t]   = normalizer(logit[h, t, s] of the keys that are seen)
      out[t, h]      = Σ_s weight[h, t, s] value[s, h // G]

  Nothing here is the arithmetic of `attnjax.ops`, and nothing is fast.

  Args:
    query: ``*B T H D``.
    key: ``*B S K D``.
    value: ``*B S K E``.
    visible: bool, broadcasts to ``*B H T S``; None hides nothing.
    bias: broadcasts to ``*B H T S``; -inf hides. None adds nothing.
    scoring: a name in `attnjax.testing.parts.SCORINGS`.
    score_mod: a name in `attnjax.testing.parts.SCORE_MODS`; None changes none.
    normalizer: a name in `attnjax.testing.parts.NORMALIZERS`.
    captured: arrays of the three, by ``"scoring weight"`` and the like.
    query_positions: broadcasts to ``*B T``; None is 0, 1, 2...
    key_positions: broadcasts to ``*B S``; None is 0, 1, 2...
    kept: bool, broadcasts to ``*B H T S``: which weights dropout leaves.
    dropout_rate: those that are left are divided by 1 - rate.

  Returns:
    A Truth.

  Equal keys share the weight, and a query that sees nothing reads 0:

  >>> import numpy as np
  >>> one = np.ones((2, 1, 1))
  >>> truth = attention(one, one, one, visible=[[True, True], [False, False]])
  >>> truth.weights.round(15).tolist(), truth.out[..., 0].round(15).tolist()
  ([[[0.5, 0.5], [0.0, 0.0]]], [[1.0], [0.0]])

  Reference:
    Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762,
    equation 1.
  """
  q, k, v = (np.asarray(x).astype(np.float64) for x in (query, key, value))
  *batch, length, heads, _ = q.shape
  keys, shared, width = v.shape[-3:]
  shape = (*batch, heads, length, keys)
  on = lambda x, default: np.broadcast_to(default if x is None else x, shape)
  seen, keep = on(visible, True), on(kept, True)
  add = on(None if bias is None else np.asarray(bias, np.float64), 0.0)
  seen = seen & ~np.isneginf(add)
  at_query = _positions(query_positions, batch, length)
  at_key = _positions(key_positions, batch, keys)
  captured = {n: np.asarray(x, np.float64) for n, x in (captured or {}).items()}
  score = _scorer(scoring, captured)
  modify = _modifier(score_mod, captured)
  normalize = _normalizer(normalizer, captured)
  truth = Truth(
    np.zeros((*batch, length, heads, width)),
    np.full(shape[:-1], -np.inf),
    np.zeros(shape),
    np.zeros(shape[:-1]),
    np.full(shape[:-1], -np.inf),
  )
  for row, n in enumerate(np.ndindex(*batch)):
    for h, t in np.ndindex(heads, length):
      s = np.flatnonzero(seen[(*n, h, t)])
      if not len(s):
        continue
      group = h // (heads // shared)
      logits = score(q[(*n, t, h)], k[(*n, s, group)])
      logits = modify(logits, row, h, at_query[(*n, t)], at_key[n][s])
      logits = logits + add[(*n, h, t)][s]
      weights, logsumexp = normalize(logits, h)
      left = np.where(keep[(*n, h, t)][s], weights / (1 - dropout_rate), 0)
      some = weights[weights > 0]
      truth.out[(*n, t, h)] = left @ v[(*n, s, group)]
      truth.logsumexp[(*n, h, t)] = logsumexp
      truth.weights[(*n, h, t, s)] = weights
      truth.entropy[(*n, h, t)] = -(some * np.log(some)).sum()
      truth.max_logit[(*n, h, t)] = logits.max()
  return truth


def _positions(x, batch, size: int) -> np.ndarray:
  """Positions of every row, counted from 0 where none are given."""
  x = np.arange(size, dtype=np.int32) if x is None else np.asarray(x)
  return np.broadcast_to(x, (*batch, size))


def _captured(role: str, part, arrays: dict) -> list:
  """The arrays that a part captures, in its own order."""
  return [arrays[f"{role} {name}"] for name in array_names(part)]


def _scorer(name, captured):
  """The scoring of a query ``D`` and keys ``S D``."""
  part = SCORINGS[name]
  arrays = _captured("scoring", part, captured)
  return lambda query, key: part.row(query, key, *arrays)


def _modifier(name, captured):
  """The score mod on a row of logits."""
  if name is None:
    return lambda logits, b, h, q, k: logits
  part = SCORE_MODS[name]
  arrays = _captured("score_mod", part, captured)
  return lambda logits, b, h, q, k: part.rule(np, logits, b, h, q, k, *arrays)


def _normalizer(name, captured):
  """The normalizer on the logits that a query sees."""
  part = NORMALIZERS[name]
  arrays = _captured("normalizer", part, captured)
  return lambda logits, head: part.row(logits, head, *arrays)


class StaticOptions(NamedTuple):
  """What is static in a dense call."""

  scoring: str
  score_mod: str | None
  normalizer: str
  aux: tuple[str, ...]
  dropout_rate: float


def dense_attention(
  options: StaticOptions, floats: dict, visible, where, kept=None
) -> dict:
  """The output and aux by name, every logit at once.

  Args:
    options: which parts.
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
  logits = _modified(options, x, _scores(options, x), seen, where)
  if bias is not None:
    logits = logits + bias
  logits = jnp.where(seen, logits, 0)
  normalizer = NORMALIZERS[options.normalizer]
  captured = _captured("normalizer", normalizer, x)
  weights, logsumexp = normalizer.dense(logits, seen, *captured)
  read = weights
  if kept is not None:
    read = jnp.where(kept, weights / (1 - options.dropout_rate), 0)
  out = jnp.einsum("...hts,...hse->...the", read, _by_head(x, "value"))
  found = {"out": out.astype(floats["value"].dtype)}
  extra = _aux(logits, seen, weights) | {"logsumexp": logsumexp}
  return found | {name: extra[name] for name in options.aux}


def _by_head(x: dict, name: str):
  """Keys or values as the query heads see them: *B H S D."""
  heads = x["query"].shape[-2] // x[name].shape[-2]
  return jnp.moveaxis(jnp.repeat(x[name], heads, axis=-2), -2, -3)


def _scores(options: StaticOptions, x: dict):
  """The bare scores, *B H T S."""
  part = SCORINGS[options.scoring]
  query = jnp.moveaxis(x["query"], -2, -3)
  captured = _captured("scoring", part, x)
  return part.dense(query, _by_head(x, "key"), *captured)


def _modified(options: StaticOptions, x: dict, scores, seen, where):
  """After the score mod, which is not asked about what is hidden."""
  if options.score_mod is None:
    return scores
  part = SCORE_MODS[options.score_mod]
  b, h, q, k, *_ = where
  scores, k = jnp.where(seen, scores, 0), jnp.where(seen, k, q)
  captured = _captured("score_mod", part, x)
  return part.rule(jnp, scores, b, h, q, k, *captured)


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
