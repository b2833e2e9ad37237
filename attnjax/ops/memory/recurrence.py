"""Closed form of the recurrence of weights and momentum within a chunk.

Momentum and decay are two linear recurrences over the tokens of a chunk,

    S[i] = η[i] S[i-1] + u[i],   A[i] = a[i] A[i-1] + S[i],   a = 1 - α

with u the updates of the tokens. So A[i] and S[i] are weighted sums of A[0],
S[0] and the u[j], whose coefficients are products of gates.
"""

from typing import NamedTuple

import jax.numpy as jnp

from attnjax.typing import Array, Bool, DTypeLike, Float

__all__ = ["ChunkCoefficients", "chunk_coefficients", "gate_products"]


class ChunkCoefficients(NamedTuple):
  """Coefficients of A[i] and S[i] after each token i of a chunk of C.

      A[i] = weights_decay[i] A[0] + momentum_in_weights[i] S[0]
             + Σ_j updates_in_weights[i, j] u[j]
           = weights_decay[i] A[0] + Σ_j steps_in_weights[i, j] S[j]
      S[i] = momentum_decay[i] S[0] + Σ_j updates_in_momentum[i, j] u[j]

  Args:
    weights_decay: ``C``.
    momentum_in_weights: ``C``; None without momentum.
    updates_in_weights: ``C C``, lower triangular.
    steps_in_weights: ``C C``; without momentum a step is an update.
    momentum_decay: ``C``; None without momentum.
    updates_in_momentum: ``C C``; None without momentum.
  """

  weights_decay: Float[Array, " C"]
  momentum_in_weights: Float[Array, " C"] | None
  updates_in_weights: Float[Array, "C C"]
  steps_in_weights: Float[Array, "C C"]
  momentum_decay: Float[Array, " C"] | None
  updates_in_momentum: Float[Array, "C C"] | None

  def before(self) -> "ChunkCoefficients":
    """Coefficients of A[i-1], the weights before each token."""
    shift = lambda x, first: jnp.concatenate(
      [jnp.full_like(x[:1], first), x[:-1]]
    )
    momentum = self.momentum_in_weights
    return self._replace(
      weights_decay=shift(self.weights_decay, 1),
      momentum_in_weights=None if momentum is None else shift(momentum, 0),
      updates_in_weights=shift(self.updates_in_weights, 0),
    )


def chunk_coefficients(
  is_token: Bool[Array, " C"],
  decay: Float[Array, " C"] | None,
  momentum: Float[Array, " C"] | None,
  dtype: DTypeLike = jnp.float32,
) -> ChunkCoefficients:
  """Coefficients of a chunk whose tokens make one step each.

  Args:
    is_token: False at padding, which changes nothing.
    decay: α; None decays nothing.
    momentum: η; None has no momentum.
    dtype: of the coefficients.

  >>> import jax.numpy as jnp
  >>> half = jnp.full(2, 0.5)
  >>> found = chunk_coefficients(jnp.ones(2, bool), half, half)
  >>> found.weights_decay.tolist(), found.updates_in_weights.tolist()
  ([0.5, 0.25], [[1.0, 0.0], [1.0, 1.0]])
  """
  # The columns of padding are 0, for it has no update; its rows repeat those of
  # the token before.
  columns = is_token.astype(dtype)[None]
  keep = None if decay is None else 1 - decay
  weights_decay, products = _one_recurrence(is_token, keep, dtype)
  steps = products * columns
  if momentum is None:
    return ChunkCoefficients(weights_decay, None, steps, steps, None, None)

  # An update enters the weights through its own step and, by momentum, through
  # all later ones.
  momentum_decay, products = _one_recurrence(is_token, momentum, dtype)
  updates = products * columns
  return ChunkCoefficients(
    weights_decay,
    steps @ momentum_decay,
    steps @ updates,
    steps,
    momentum_decay,
    updates,
  )


def _one_recurrence(is_token, gates, dtype):
  """Coefficients of x[0] and of each u in x[i] = gates[i] x[i-1] + u[i]."""
  count = len(is_token)
  if gates is None:
    return jnp.ones(count, dtype), jnp.tril(jnp.ones((count, count), dtype))
  # A gate of 1 at padding leaves the state as it is.
  gates = jnp.where(is_token, gates, 1)
  return jnp.cumprod(gates), gate_products(gates)


def gate_products(gates: Float[Array, " C"]) -> Float[Array, "C C"]:
  """p[i, j] = Π_n gates[n], n = j+1 .. i, where i >= j, else 0.

  >>> import jax.numpy as jnp
  >>> gate_products(jnp.array([2.0, 3.0, 5.0])).tolist()
  [[1.0, 0.0, 0.0], [3.0, 1.0, 0.0], [15.0, 5.0, 1.0]]
  """
  count = len(gates)
  rows = jnp.broadcast_to(gates[:, None], (count, count))
  below = jnp.tril(jnp.ones((count, count), bool), -1)
  # Not by differences of logarithms: a gate may be 0, with a gradient.
  return jnp.tril(jnp.cumprod(jnp.where(below, rows, 1), axis=0))
