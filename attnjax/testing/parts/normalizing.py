"""How a row of logits becomes a row of weights, in numpy and in dense JAX."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import normalizers

__all__ = ["NORMALIZERS", "NormalizerPart"]


class NormalizerPart(NamedTuple):
  """One normalizer, three times over.

  row takes the finite logits that a query sees, at least one, and its head, and
  gives (weights, logsumexp); dense takes logits ``*B H T S``, finite
  everywhere, and which of them are seen.
  """

  build: Callable
  row: Callable
  dense: Callable
  arrays: tuple[str, ...] = ()


def _row_softmax(logits, head):
  logsumexp = logits.max() + np.log(np.exp(logits - logits.max()).sum())
  return np.exp(logits - logsumexp), logsumexp


def _dense_softmax(logits, seen):
  top = jnp.where(seen, logits, -jnp.inf)
  top = jnp.max(top, axis=-1, keepdims=True, initial=-jnp.inf)
  any_ = top > -jnp.inf
  top = jax.lax.stop_gradient(jnp.where(any_, top, 0))
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
  """Softmax in which a sink, logit ``... T``, takes its share."""
  weights, logsumexp = _dense_softmax(logits, seen)
  some = jnp.any(seen, axis=-1)
  sink = sink.reshape((1,) * (logsumexp.ndim - sink.ndim) + sink.shape)
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
  return _row_sigmoid(logits - 2, head)[0], _row_softmax(logits, head)[1]


def _dense_sigmoid_bias(logits, seen):
  weights = jnp.where(seen, jax.nn.sigmoid(logits - 2), 0)
  return weights, _dense_softmax(logits, seen)[1]


def _row_top_k(logits, head):
  kept = np.argsort(-logits, kind="stable")[:3]
  weights = np.zeros_like(logits)
  weights[kept], logsumexp = _row_softmax(logits[kept], head)
  return weights, logsumexp


def _dense_top_k(logits, seen):
  """Kept are those that fewer than 3 beat; of equals the first is first."""
  x = jnp.where(seen, logits, -jnp.inf)
  mine, theirs = x[..., :, None], x[..., None, :]
  index = jnp.arange(x.shape[-1])
  earlier = index[None, :] < index[:, None]
  earlier = earlier.reshape((1,) * (x.ndim - 1) + earlier.shape)
  beaten = (theirs > mine) | ((theirs == mine) & earlier)
  return _dense_softmax(logits, seen & (jnp.sum(beaten, axis=-1) < 3))


def _build_sink(sink):
  return normalizers.softmax(sink=sink)


def _build_plus_one():
  return normalizers.softmax_plus_one()


def _build_sigmoid():
  return normalizers.sigmoid()


def _build_sigmoid_bias():
  return normalizers.sigmoid(-2.0)


def _build_top_k():
  return normalizers.top_k(3)


NORMALIZERS = {
  "softmax": NormalizerPart(normalizers.softmax, _row_softmax, _dense_softmax),
  "sink": NormalizerPart(_build_sink, _row_sink, _dense_sink, ("sink: H",)),
  "plus_one": NormalizerPart(_build_plus_one, _row_plus_one, _dense_plus_one),
  "sigmoid": NormalizerPart(_build_sigmoid, _row_sigmoid, _dense_sigmoid),
  "sigmoid with bias": NormalizerPart(
    _build_sigmoid_bias, _row_sigmoid_bias, _dense_sigmoid_bias
  ),
  "top_k": NormalizerPart(_build_top_k, _row_top_k, _dense_top_k),
}
