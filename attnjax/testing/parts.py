"""Scorings, score mods and normalizers under test, each with its definition.

Each entry of the three tables builds the object of attnjax, and holds the same
function twice more: in numpy on one row of logits, for the oracle, and in dense
JAX, for its derivatives. None of the arithmetic is that of `attnjax.ops`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import normalizers, score_mods, scoring

__all__ = ["NORMALIZERS", "SCORE_MODS", "SCORINGS", "array_names"]

# Once a package: an empty path lets the import system look for its modules,
# which `attnjax.moved` forwards to this file.
__path__: list[str] = []


def array_names(part) -> list[str]:
  """The names of the arrays that a part captures, in order.

  >>> array_names(SCORINGS["cosine"]), array_names(SCORE_MODS["alibi"])
  (['temperature'], ['slopes'])
  """
  return [line.split(":")[0].removeprefix("+") for line in part.arrays]


class ScoringPart(NamedTuple):
  """A scoring under test, with its definitions.

  Args:
    build: constructor of attnjax, of the captured arrays.
    row: numpy, of a query ``D`` and keys ``S D``.
    dense: JAX, of queries ``*B H T D`` and keys ``*B H S D``.
    arrays: ``"name: axes"`` of each captured array; + marks a positive one.
  """

  build: Callable
  row: Callable
  dense: Callable
  arrays: tuple[str, ...] = ()


def _inner(query, key):
  """Every query with every key: *B H T S."""
  return jnp.einsum("...td,...sd->...ts", query, key)


# Scorings by definition: `_row_*` of one query in numpy, `_dense_*` in JAX.
def _row_dot(query, key):
  return key @ query


def _row_scaled_dot(query, key):
  return key @ query / np.sqrt(len(query))


def _dense_scaled_dot(query, key):
  return _inner(query, key) / query.shape[-1] ** 0.5


def _row_scaled_by(query, key):
  return 0.3 * (key @ query)


def _dense_scaled_by(query, key):
  return 0.3 * _inner(query, key)


def _row_general(query, key, weight):
  return key @ (weight.T @ query)


def _dense_general(query, key, weight):
  projected = jnp.einsum("...td,de->...te", query, weight)
  return _inner(projected, key)


def _row_additive(query, key, query_weight, key_weight, vector):
  return np.tanh(query @ query_weight + key @ key_weight) @ vector


def _dense_additive(query, key, query_weight, key_weight, vector):
  q = jnp.einsum("...td,da->...ta", query, query_weight)[..., :, None, :]
  k = jnp.einsum("...sd,da->...sa", key, key_weight)[..., None, :, :]
  return jnp.einsum("...tsa,a->...ts", jnp.tanh(q + k), vector)


def _row_cosine(query, key, temperature):
  norms = np.linalg.norm(query) * np.linalg.norm(key, axis=-1)
  return key @ query / norms / temperature


def _dense_cosine(query, key, temperature):
  unit = lambda x: x / jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True))
  return _inner(unit(query), unit(key)) / temperature


def _row_gaussian(query, key, bandwidth):
  return -((key - query) ** 2).sum(-1) / (2 * bandwidth**2)


def _dense_gaussian(query, key, bandwidth):
  apart = query[..., :, None, :] - key[..., None, :, :]
  return -jnp.sum(apart * apart, axis=-1) / (2 * bandwidth * bandwidth)


def _named(name: str) -> Callable:
  """The constructor of that name in attnjax, looked up when it is called."""

  def build(*arrays):
    return getattr(scoring, name)(*arrays)

  return build


SCORINGS = {
  "scaled_dot": ScoringPart(
    _named("scaled_dot"), _row_scaled_dot, _dense_scaled_dot
  ),
  "scaled_dot by 0.3": ScoringPart(
    lambda: scoring.scaled_dot(0.3), _row_scaled_by, _dense_scaled_by
  ),
  "dot": ScoringPart(_named("dot"), _row_dot, _inner),
  "general": ScoringPart(
    _named("general"), _row_general, _dense_general, ("weight: D D",)
  ),
  "additive": ScoringPart(
    _named("additive"),
    _row_additive,
    _dense_additive,
    ("query_weight: D A", "key_weight: D A", "vector: A"),
  ),
  "cosine": ScoringPart(
    _named("cosine"), _row_cosine, _dense_cosine, ("+temperature:",)
  ),
  "gaussian": ScoringPart(
    _named("gaussian"), _row_gaussian, _dense_gaussian, ("+bandwidth:",)
  ),
}


class ScoreModPart(NamedTuple):
  """A score mod under test, with its definition.

  Args:
    build: constructor of attnjax, of the captured arrays.
    rule: ``(xp, logit, b, h, q, k, *arrays)``, elementwise, of numpy or
      jax.numpy as xp.
    arrays: as of `ScoringPart`.
  """

  build: Callable
  rule: Callable
  arrays: tuple[str, ...] = ()


def _softcap(xp, logit, b, h, q, k):
  return 1.5 * xp.tanh(logit / 1.5)


def _alibi(xp, logit, b, h, q, k, slopes):
  return logit - slopes[h] * abs(q - k).astype(logit.dtype)


def _capped_alibi(xp, logit, b, h, q, k, slopes):
  return _alibi(xp, _softcap(xp, logit, b, h, q, k), b, h, q, k, slopes)


def _relative_bias(xp, logit, b, h, q, k, table):
  """T5: half the buckets a side, exact near by, logarithmic up to 128.

  Reference:
    Raffel et al., "Exploring the Limits of Transfer Learning with a Unified
    Text-to-Text Transformer", 2020, arXiv 1910.10683, section 2.1.
  """
  # Keys after the query have the second half of the buckets.
  half = table.shape[0] // 2
  exact = half // 2
  distance = abs(q - k)
  # At least 1, for log 0: near keys have the exact buckets anyway.
  far = xp.maximum(distance, 1).astype(xp.float32) / exact
  far = exact + xp.log(far) / math.log(128 / exact) * (half - exact)
  # Every distance from 128 on has the last bucket.
  far = xp.minimum(far.astype(xp.int32), half - 1)
  bucket = xp.where(distance < exact, distance, far)
  bucket = bucket + xp.where(k > q, half, 0)
  return logit + table[bucket, h]


def _gain_and_table(xp, logit, b, h, q, k, gain, table):
  return logit * gain[h] + table[(q - k) % table.shape[0]]


def _gain_and_table_fn(logit, b, h, q, k, gain, table):
  return _gain_and_table(jnp, logit, b, h, q, k, gain, table)


def _log_distance(xp, logit, b, h, q, k, gain):
  """A score mod that is NaN for keys after the query, which must be hidden."""
  return logit - gain[h] * xp.log((q - k + 1).astype(logit.dtype))


def _log_distance_fn(logit, b, h, q, k, gain):
  return _log_distance(jnp, logit, b, h, q, k, gain)


SCORE_MODS = {
  "softcap": ScoreModPart(lambda: score_mods.softcap(1.5), _softcap),
  "alibi": ScoreModPart(score_mods.alibi, _alibi, ("+slopes: H",)),
  "softcap then alibi": ScoreModPart(
    lambda slopes: score_mods.compose(
      score_mods.softcap(1.5), score_mods.alibi(slopes)
    ),
    _capped_alibi,
    ("+slopes: H",),
  ),
  "relative_bias": ScoreModPart(
    lambda table: score_mods.relative_bias(table),
    _relative_bias,
    ("table: N H",),
  ),
  "captured arrays": ScoreModPart(
    lambda gain, table: score_mods.from_fn(_gain_and_table_fn, gain, table),
    _gain_and_table,
    ("gain: H", "table: N"),
  ),
  "log distance": ScoreModPart(
    lambda gain: score_mods.from_fn(_log_distance_fn, gain),
    _log_distance,
    ("+gain: H",),
  ),
}


class NormalizerPart(NamedTuple):
  """A normalizer under test, with its definitions.

  Args:
    build: constructor of attnjax, of the captured arrays.
    row: numpy, ``(logits, head, *arrays) -> (weights, logsumexp)`` of the
      logits that one query sees, at least one, all finite.
    dense: JAX, ``(logits, seen, *arrays) -> (weights, logsumexp)`` of logits
      ``*B H T S``, finite where they are hidden too.
    arrays: as of `ScoringPart`.
  """

  build: Callable
  row: Callable
  dense: Callable
  arrays: tuple[str, ...] = ()


def _row_softmax(logits, head):
  # Shifted by the largest: exp overflows float64 above 709, and a case has
  # logits of 1e4.
  logsumexp = logits.max() + np.log(np.exp(logits - logits.max()).sum())
  return np.exp(logits - logsumexp), logsumexp


def _dense_softmax(logits, seen):
  top = jnp.where(seen, logits, -jnp.inf)
  top = jnp.max(top, axis=-1, keepdims=True, initial=-jnp.inf)
  any_ = top > -jnp.inf
  # A shift cancels out: without a gradient, its ties need no rule.
  top = jax.lax.stop_gradient(jnp.where(any_, top, 0))
  # Twice `where`: exp of a hidden logit may overflow, and 0 times its infinite
  # derivative is NaN.
  share = jnp.where(seen, jnp.exp(jnp.where(seen, logits - top, 0)), 0)
  total = jnp.where(any_, jnp.sum(share, axis=-1, keepdims=True), 1)
  logsumexp = jnp.where(any_, jnp.log(total) + top, -jnp.inf)
  return share / total, logsumexp[..., 0]


def _row_sink(logits, head, sink):
  weights, logsumexp = _row_softmax(logits, head)
  return weights / (1 + np.exp(sink[head] - logsumexp)), logsumexp


def _dense_sink(logits, seen, sink):
  return _with_sink(logits, seen, sink[:, None])


def _with_sink(logits, seen, sink):
  """Softmax with one more logit, the sink ``... T``, that has no value."""
  weights, logsumexp = _dense_softmax(logits, seen)
  some = jnp.any(seen, axis=-1)
  sink = sink.reshape((1,) * (logsumexp.ndim - sink.ndim) + sink.shape)
  # Σ exp(logit) / (Σ exp(logit) + exp(sink)) = sigmoid(logsumexp - sink).
  left = jax.nn.sigmoid(jnp.where(some, logsumexp - sink, 0))
  return weights * left[..., None], logsumexp


def _row_plus_one(logits, head):
  weights, logsumexp = _row_softmax(logits, head)
  return weights / (1 + np.exp(-logsumexp)), logsumexp


def _dense_plus_one(logits, seen):
  return _with_sink(logits, seen, jnp.zeros((), logits.dtype))


def _row_sigmoid(logits, head):
  return 1 / (1 + np.exp(-logits)), _row_softmax(logits, head)[1]


def _dense_sigmoid(logits, seen):
  weights = jnp.where(seen, jax.nn.sigmoid(logits), 0)
  return weights, _dense_softmax(logits, seen)[1]


def _row_sigmoid_bias(logits, head):
  # The bias is of the weights alone; the log-sum-exp is of the plain logits.
  return _row_sigmoid(logits - 2, head)[0], _row_softmax(logits, head)[1]


def _dense_sigmoid_bias(logits, seen):
  weights = jnp.where(seen, jax.nn.sigmoid(logits - 2), 0)
  return weights, _dense_softmax(logits, seen)[1]


def _row_top_k(logits, head):
  # Stable: of equal logits the first are kept.
  kept = np.argsort(-logits, kind="stable")[:3]
  weights = np.zeros_like(logits)
  weights[kept], logsumexp = _row_softmax(logits[kept], head)
  return weights, logsumexp


def _dense_top_k(logits, seen):
  """Softmax of the logits that fewer than 3 others beat; ties to the first."""
  x = jnp.where(seen, logits, -jnp.inf)
  mine, theirs = x[..., :, None], x[..., None, :]
  index = jnp.arange(x.shape[-1])
  earlier = index[None, :] < index[:, None]
  earlier = earlier.reshape((1,) * (x.ndim - 1) + earlier.shape)
  beaten = (theirs > mine) | ((theirs == mine) & earlier)
  return _dense_softmax(logits, seen & (jnp.sum(beaten, axis=-1) < 3))


NORMALIZERS = {
  "softmax": NormalizerPart(normalizers.softmax, _row_softmax, _dense_softmax),
  "sink": NormalizerPart(
    lambda sink: normalizers.softmax(sink=sink),
    _row_sink,
    _dense_sink,
    ("sink: H",),
  ),
  "plus_one": NormalizerPart(
    lambda: normalizers.softmax_plus_one(), _row_plus_one, _dense_plus_one
  ),
  "sigmoid": NormalizerPart(
    lambda: normalizers.sigmoid(), _row_sigmoid, _dense_sigmoid
  ),
  "sigmoid with bias": NormalizerPart(
    lambda: normalizers.sigmoid(-2.0), _row_sigmoid_bias, _dense_sigmoid_bias
  ),
  "top_k": NormalizerPart(
    lambda: normalizers.top_k(3), _row_top_k, _dense_top_k
  ),
}
