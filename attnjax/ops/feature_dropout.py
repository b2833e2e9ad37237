"""Dropout of features, with a random key per call of the model."""

from typing import Any

import jax
import jax.numpy as jnp

from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.typing import Array, Float

__all__ = ["Dropout", "check_rate"]


@pytree_dataclass
class Dropout:
  """Dropout of features: zero with probability rate, else x / (1 - rate).

  An instance is made for each call of a model. What is dropped is a function of
  its key and of a number for the place in the network.

  Args:
    rate: share to drop, in [0, 1).
    key: a JAX random key; None drops nothing, as evaluation wants it.

  It preserves the mean:

  >>> import jax
  >>> import jax.numpy as jnp
  >>> drop = Dropout(0.25, jax.random.key(0))
  >>> bool(abs(drop(jnp.ones(10_000), 3).mean() - 1) < 0.02)
  True
  >>> Dropout(0.25, None)(jnp.ones(3), 3).tolist()
  [1.0, 1.0, 1.0]

  Reference:
    Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
    Overfitting", 2014.
  """

  rate: float = static()
  key: Any = None

  def __call__(self, x: Float[Array, "..."], place: int) -> Float[Array, "..."]:
    """Drops features of x; each place of a network has its own number."""
    if self.key is None or self.rate == 0:
      return x

    # A fixed place, not a counter: stateless, and the same under scan and
    # remat.
    key = jax.random.fold_in(self.key, place)
    stays = jax.random.bernoulli(key, 1 - self.rate, x.shape)
    return jnp.where(stays, x / (1 - self.rate), 0)

  def of(self, place: int) -> "Dropout":
    """The dropout of a sub-network, with places of its own."""
    if self.key is None:
      return self
    return Dropout(self.rate, jax.random.fold_in(self.key, place))

  def split(self, count: int) -> "Dropout":
    """Splits the key along a leading axis, one per layer of a scan."""
    if self.key is None:
      return self
    return Dropout(self.rate, jax.random.split(self.key, count))


def check_rate(rate: float) -> None:
  """Raises ValueError if a dropout rate of a config is outside [0, 1)."""
  if not 0 <= rate < 1:
    raise ValueError(f"model: dropout must be within 0 and 1, got {rate}")
