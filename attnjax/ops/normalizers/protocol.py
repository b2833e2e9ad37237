"""What a normalizer is: how a row of logits becomes a row of weights.

A normalizer is a frozen pytree of three small parts, `keep`, `weigh` and
`factor`, which an engine uses tile by tile. Called on whole rows, where -inf
marks what is hidden, it returns their weights and their log-sum-exp.
"""

import dataclasses

import jax
import jax.numpy as jnp

from attnjax.ops.value import Value
from attnjax.typing import Array, Bool, Float

__all__ = ["Normalizer"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Normalizer(Value):
  """How logits become weights; see `softmax` and its neighbours.

  A row either shares one weight among its keys, as softmax does,

      weight[s] = exp(logit[s] - L) · factor(L),   L = log Σ_s exp(logit[s])

  or gives each key a weight of its own, weight[s] = weigh(logit[s]). Logits
  beyond the `keep` largest of their row count as hidden. L is of the logits
  that count, whatever the normalizer; -inf, with gradient 0, where none does.

  >>> import jax.numpy as jnp
  >>> from attnjax import normalizers
  >>> weights, logsumexp = normalizers.softmax()(jnp.zeros((1, 1, 1, 4)))
  >>> weights[0, 0, 0].tolist(), round(float(jnp.exp(logsumexp[0, 0, 0])))
  ([0.25, 0.25, 0.25, 0.25], 4)
  """

  @property
  def keep(self) -> int | None:
    """How many of a row's largest logits count; None is all of them."""
    return None

  def weigh(self, logits: Float[Array, "..."]) -> Float[Array, "..."] | None:
    """The weight of each logit by itself; None where a row shares one."""
    return None

  def factor(
    self, logsumexp: Float[Array, "..."]
  ) -> Float[Array, "..."] | None:
    """What a row has to share, from its log-sum-exp ``*B H T``; None is 1.

    Value and gradient are 0 where the log-sum-exp is -inf.
    """
    return None

  def validate(self, heads: int) -> None:
    """Raises ValueError if a captured array does not fit the query heads H."""

  def __call__(
    self, logits: Float[Array, "... S"]
  ) -> tuple[Float[Array, "... S"], Float[Array, "..."]]:
    """(weights, log-sum-exp) of each row; "*B H T S" where heads matter."""
    if self.keep is not None:
      logits = jnp.where(largest(logits, self.keep), logits, -jnp.inf)
    weights, logsumexp = _softmax(logits)
    alone = self.weigh(logits)
    if alone is not None:
      return alone, logsumexp
    factor = self.factor(logsumexp)
    if factor is not None:
      weights = weights * factor[..., None]
    return weights, logsumexp


def largest(logits: Float[Array, "... S"], k: int) -> Bool[Array, "... S"]:
  """Marks the k largest of each row, ties to the lowest index."""
  k = min(k, logits.shape[-1])
  # By index and not by comparison with the k-th: so that ties keep exactly k,
  # and a NaN, which is the largest there is, stays seen.
  _, index = jax.lax.top_k(jax.lax.stop_gradient(logits), k)
  kept = jnp.zeros(logits.shape, bool)
  return jnp.put_along_axis(kept, index, True, axis=-1, inplace=False)


def _softmax(logits):
  """Weights that sum to 1, or to 0 where nothing is seen, and log-sum-exp."""
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
