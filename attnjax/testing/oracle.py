"""Oracles: attention from its definition, in numpy and in dense JAX.

`attention` computes one query at a time in float64 numpy: the reference for
values. `dense_attention` computes all logits at once in JAX: in float64 it is
the reference for derivatives, and in the dtype of a problem its error measures
the rounding of that dtype. Neither uses the arithmetic of `attnjax.ops`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.testing.parts import NORMALIZERS, SCORE_MODS, SCORINGS, array_names

__all__ = ["StaticOptions", "Truth", "attention", "dense_attention"]


class Truth(NamedTuple):
  """Results of the numpy oracle, in float64.

  Args:
    out: ``*B T H E``.
    logsumexp: ``*B H T``.
    weights: ``*B H T S``, before dropout.
    entropy: ``*B H T``, of the weights.
    max_logit: ``*B H T``.
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
  """Attention by its definition, one query at a time, in float64 numpy.

      logit[h, t, s] = mod(scoring(query[t, h], key[s, h // G])) + bias[h, t, s]
      weight[h, t]   = normalizer(logit[h, t, s] of the keys that are seen)
      out[t, h]      = Σ_s weight[h, t, s] value[s, h // G]

  Args:
    query: ``*B T H D``.
    key: ``*B S K D``.
    value: ``*B S K E``.
    visible: bool, broadcasts to ``*B H T S``; None hides nothing.
    bias: broadcasts to ``*B H T S``; -inf hides. None adds nothing.
    scoring: a name in `attnjax.testing.parts.SCORINGS`.
    score_mod: a name in `attnjax.testing.parts.SCORE_MODS`; None changes none.
    normalizer: a name in `attnjax.testing.parts.NORMALIZERS`.
    captured: arrays of the three, by name, such as ``"scoring weight"``.
    query_positions: broadcasts to ``*B T``; None is 0, 1, 2...
    key_positions: broadcasts to ``*B S``; None is 0, 1, 2...
    kept: bool, broadcasts to ``*B H T S``, the weights that dropout leaves.
    dropout_rate: the weights that are left are divided by 1 - rate.

  Returns:
    The results; a query that sees no key has output 0 and logsumexp -inf.

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

      # The output alone is after dropout; weights and entropy are before it.
      left = np.where(keep[(*n, h, t)][s], weights / (1 - dropout_rate), 0)
      # 0 · log 0 counts as 0: top_k gives weights of exactly 0.
      some = weights[weights > 0]

      truth.out[(*n, t, h)] = left @ v[(*n, s, group)]
      truth.logsumexp[(*n, h, t)] = logsumexp
      truth.weights[(*n, h, t, s)] = weights
      truth.entropy[(*n, h, t)] = -(some * np.log(some)).sum()
      truth.max_logit[(*n, h, t)] = logits.max()

  return truth


def _positions(x, batch, size: int) -> np.ndarray:
  """Positions ``*B T``; None is 0, 1, 2..."""
  x = np.arange(size, dtype=np.int32) if x is None else np.asarray(x)
  return np.broadcast_to(x, (*batch, size))


def _captured(role: str, part, arrays: dict) -> list:
  """The arrays that a scoring, score mod or normalizer captures, in order."""
  return [arrays[f"{role} {name}"] for name in array_names(part)]


def _scorer(name, captured):
  """The scoring as a function of a query ``D`` and keys ``S D``."""
  part = SCORINGS[name]
  arrays = _captured("scoring", part, captured)
  return lambda query, key: part.row(query, key, *arrays)


def _modifier(name, captured):
  """The score mod as a function of a row of logits and its coordinates."""
  if name is None:
    return lambda logits, b, h, q, k: logits
  part = SCORE_MODS[name]
  arrays = _captured("score_mod", part, captured)
  return lambda logits, b, h, q, k: part.rule(np, logits, b, h, q, k, *arrays)


def _normalizer(name, captured):
  """The normalizer as a function of the visible logits of a query."""
  part = NORMALIZERS[name]
  arrays = _captured("normalizer", part, captured)
  return lambda logits, head: part.row(logits, head, *arrays)


class StaticOptions(NamedTuple):
  """The options of `dense_attention` that are no arrays; hashable."""

  scoring: str
  score_mod: str | None
  normalizer: str
  aux: tuple[str, ...]
  dropout_rate: float


def dense_attention(
  options: StaticOptions, floats: dict, visible, where, kept=None
) -> dict:
  """Attention by its definition, all logits at once, differentiable in JAX.

  Args:
    options: scoring, score mod, normalizer, aux and dropout rate.
    floats: all differentiable arrays, by name.
    visible: bool ``*B H T S``.
    where: coordinates of the logits, batch row first.
    kept: bool ``*B H T S``, the weights that dropout leaves; None is all.

  Returns:
    out and each aux, by name; out has the dtype of the value.
  """
  wide = any(x.dtype == jnp.float64 for x in floats.values())
  # float32 for bfloat16 inputs too, as `attend` computes its logits.
  dtype = jnp.float64 if wide else jnp.float32
  x = {name: array.astype(dtype) for name, array in floats.items()}

  bias = x.get("bias")
  seen = visible
  if bias is not None:
    bias = jnp.broadcast_to(bias, visible.shape)
    seen = seen & ~jnp.isneginf(bias)
    # Not -inf + finite: its gradient would be NaN.
    bias = jnp.where(seen, bias, 0)

  logits = _modified(options, x, _scores(options, x), seen, where)
  if bias is not None:
    logits = logits + bias
  # Normalizers get `seen`, and finite logits even where these are hidden: an
  # infinity there would make the gradients NaN.
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
  """Keys or values repeated for every query head: ``*B H S D``."""
  # Repeated and not tiled: query head h reads key head h // G.
  heads = x["query"].shape[-2] // x[name].shape[-2]
  return jnp.moveaxis(jnp.repeat(x[name], heads, axis=-2), -2, -3)


def _scores(options: StaticOptions, x: dict):
  """Scores ``*B H T S``, before the score mod."""
  part = SCORINGS[options.scoring]
  query = jnp.moveaxis(x["query"], -2, -3)
  captured = _captured("scoring", part, x)
  return part.dense(query, _by_head(x, "key"), *captured)


def _modified(options: StaticOptions, x: dict, scores, seen, where):
  """Logits after the score mod, 0 for hidden pairs."""
  if options.score_mod is None:
    return scores
  part = SCORE_MODS[options.score_mod]
  b, h, q, k, *_ = where
  # A score mod may be NaN where the mask hides: it gets the query's position.
  scores, k = jnp.where(seen, scores, 0), jnp.where(seen, k, q)
  captured = _captured("score_mod", part, x)
  return part.rule(jnp, scores, b, h, q, k, *captured)


def _aux(logits, seen, weights) -> dict:
  """Every aux but the log-sum-exp, by name."""
  some = weights > 0
  # 1 inside the logarithm: the gradient of log 0 is NaN, even times 0.
  log = jnp.log(jnp.where(some, weights, 1))
  hidden = jnp.where(seen, logits, -jnp.inf)
  largest = jnp.max(hidden, axis=-1, initial=-jnp.inf)
  # The derivative of -inf, the largest logit of an empty row, is 0.
  largest = jnp.where(
    jnp.any(seen, axis=-1), largest, jax.lax.stop_gradient(largest)
  )

  return {
    "weights": weights,
    "entropy": -jnp.sum(weights * log, axis=-1),
    "max_logit": largest,
  }
