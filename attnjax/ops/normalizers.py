"""Normalizers: how a row of logits becomes a row of weights.

A normalizer is a frozen pytree, called as ``normalizer(logits)`` on ``... S``,
where -inf marks what is hidden. It returns the weights and the log of their
normalizing sum, the log-sum-exp of the row.
"""

import dataclasses

import jax
import jax.numpy as jnp

from attnjax.typing import Array, Float

__all__ = ["Normalizer", "softmax"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Normalizer:
  """How logits become weights; see `softmax`.

  >>> from attnjax import normalizers
  >>> isinstance(normalizers.softmax(), normalizers.Normalizer)
  True
  """

  def __call__(
    self, logits: Float[Array, "... S"]
  ) -> tuple[Float[Array, "... S"], Float[Array, "..."]]:
    """(weights, log-sum-exp) of each row."""
    raise NotImplementedError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Softmax(Normalizer):
  def __call__(self, logits):
    # The largest logit only moves the range: no gradient runs through it.
    top = jax.lax.stop_gradient(
      jnp.max(logits, axis=-1, keepdims=True, initial=-jnp.inf)
    )
    top = jnp.where(jnp.isfinite(top), top, 0)
    unnormalized = jnp.exp(logits - top)
    total = jnp.sum(unnormalized, axis=-1, keepdims=True)
    # Of a row that sees nothing the sum is exactly 0, and only of such a row:
    # the largest logit contributes 1.
    # A sum of NaN is no empty row: it stays NaN.
    seen = ~(total == 0)
    safe = jnp.where(seen, total, 1)
    logsumexp = jnp.where(seen, jnp.log(safe) + top, -jnp.inf)
    return unnormalized / safe, logsumexp[..., 0]


def softmax() -> Normalizer:
  """Softmax, weight[s] = exp(logit[s]) / Σ_s exp(logit[s]).

  A row that sees nothing has weights 0 and log-sum-exp -inf, and its gradients
  are 0, never NaN.

  >>> import jax.numpy as jnp
  >>> weights, _ = softmax()(jnp.array([[1e4, 1e4], [-jnp.inf, -jnp.inf]]))
  >>> weights.tolist()
  [[0.5, 0.5], [0.0, 0.0]]

  Reference:
    Bridle, "Probabilistic Interpretation of Feedforward Classification Network
    Outputs", 1990.
  """
  return _Softmax()
