"""Normalizers by which the keys of a row share one weight, or part of it."""

from typing import Any

import jax
import jax.numpy as jnp

from attnjax.ops.node import node
from attnjax.ops.normalizers.protocol import Normalizer
from attnjax.ops.value import written
from attnjax.typing import Array, Float

__all__ = ["softmax", "softmax_plus_one"]


@node
class _Softmax(Normalizer):
  def __repr__(self):
    return "softmax()"


@node
class _PlusOne(Normalizer):
  def __repr__(self):
    return "softmax_plus_one()"

  def factor(self, logsumexp):
    return _share(logsumexp, jnp.zeros_like(logsumexp))


@node
class _Sink(Normalizer):
  sink: Any

  def __repr__(self):
    return written("softmax", sink=self.sink)

  def factor(self, logsumexp):
    sink = jnp.asarray(self.sink).astype(logsumexp.dtype)
    if sink.ndim:
      sink = sink[:, None]  # H T
    sink = sink.reshape((1,) * (logsumexp.ndim - sink.ndim) + sink.shape)
    return _share(logsumexp, sink)

  def validate(self, heads):
    if jnp.shape(self.sink) not in ((), (heads,)):
      raise ValueError(
        f"normalizer softmax: sink has shape {list(jnp.shape(self.sink))},"
        f" expected one logit a query head, [{heads}], or a scalar"
      )


def _share(logsumexp, sink):
  """exp(L - log(exp(L) + exp(sink))) = sigmoid(L - sink), 0 where L = -inf."""
  # The sigmoid under- and overflows to 0 and 1 with gradient 0; only -inf less
  # a sink of -inf would be NaN.
  seen = ~jnp.isneginf(logsumexp)
  share = jax.nn.sigmoid(jnp.where(seen, logsumexp, 0) - sink)
  return jnp.where(seen, share, 0)


def softmax(
  sink: Float[Array, " H"] | Float[Array, ""] | float | None = None,
) -> Normalizer:
  """Softmax, weight[s] = exp(logit[s]) / (Σ_s exp(logit[s]) + exp(sink)).

  A sink is the logit of a key that has no value: it draws weight that no key
  deserves, so that weights sum to less than 1. A row that sees nothing has
  weights 0 and log-sum-exp -inf, and its gradients are 0, never NaN.

  Args:
    sink: one logit a query head, ``H``, or a scalar for all; gradients reach
      it. It is no part of the log-sum-exp. None (or -inf) is no sink.

  Raises:
    ValueError: in `attend`, if the sink has another shape.

  >>> import jax.numpy as jnp
  >>> weights, _ = softmax()(jnp.array([[1e4, 1e4], [-jnp.inf, -jnp.inf]]))
  >>> weights.tolist()
  [[0.5, 0.5], [0.0, 0.0]]
  >>> weights, _ = softmax(sink=jnp.log(2.0))(jnp.zeros((1, 1, 2)))
  >>> jnp.round(weights, 6).tolist()
  [[[0.25, 0.25]]]

  Reference:
    Bridle, "Probabilistic Interpretation of Feedforward Classification Network
    Outputs", 1990. Xiao, Tian, Chen, Han, Lewis, "Efficient Streaming Language
    Models with Attention Sinks", 2023, arXiv 2309.17453. A learned sink a head
    as here: OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", 2025, arXiv
    2508.10925, section 2.2.
  """
  return _Softmax() if sink is None else _Sink(sink)


def softmax_plus_one() -> Normalizer:
  """Softmax off by one, weight[s] = exp(logit[s]) / (1 + Σ_s exp(logit[s])).

  A head that finds nothing may stay silent: where all logits are very negative
  all weights are near 0. It is `softmax` with a sink of logit 0.

  >>> import jax.numpy as jnp
  >>> weights, _ = softmax_plus_one()(jnp.array([[0.0, 0.0], [-99.0, -99.0]]))
  >>> [round(x, 3) for x in weights.sum(-1).tolist()]
  [0.667, 0.0]

  Reference:
    Miller, "Attention Is Off By One", 2023,
    https://www.evanmiller.org/attention-is-off-by-one.html
  """
  return _PlusOne()
