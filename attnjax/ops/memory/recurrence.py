"""Closed form of the recurrence of weights and momentum within a chunk.

Momentum and decay are two linear recurrences over the tokens of a chunk,

    S[i] = η[i] S[i-1] + u[i],   A[i] = a[i] A[i-1] + S[i],   a = 1 - α

with u the updates of the tokens. So A[i] and S[i] are weighted sums of A[0],
S[0] and the u[j], whose coefficients are products of gates.
"""

from typing import NamedTuple

import jax.numpy as jnp

from attnjax.typing import Array, Bool, DTypeLike, Float

__all__ = [
  "ChunkCoefficients",
  "chunk_coefficients",
  "decayed_inputs",
  "decayed_scores",
  "gate_products",
]


class ChunkCoefficients(NamedTuple):
  """Coefficients of A[i] and S[i] after each token i of a chunk of C.

      A[i] = weights_decay[i] A[0] + momentum_in_weights[i] S[0]
             + Σ_j updates_in_weights[i, j] u[j]
           = weights_decay[i] A[0] + Σ_j steps_in_weights[i, j] S[j]
      S[i] = momentum_decay[i] S[0] + Σ_j updates_in_momentum[i, j] u[j]

  Where each feature of the keys decays by itself, all of `weights_decay`,
  `updates_in_weights` and `steps_in_weights` have its axis I at their end.

  Args:
    weights_decay: ``C``, or ``C I``.
    momentum_in_weights: ``C``; None without momentum.
    updates_in_weights: ``C C``, lower triangular, or ``C C I``.
    steps_in_weights: ``C C``; without momentum a step is an update.
    momentum_decay: ``C``; None without momentum.
    updates_in_momentum: ``C C``; None without momentum.
  """

  weights_decay: Float[Array, "C *I"]
  momentum_in_weights: Float[Array, " C"] | None
  updates_in_weights: Float[Array, "C C *I"]
  steps_in_weights: Float[Array, "C C *I"]
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


def decayed_inputs(
  coefficients: ChunkCoefficients, x: Float[Array, "C I"]
) -> Float[Array, "C I"]:
  """Inputs x[i] times what is left of A[0] after token i: x[i] A[0], decayed.

  >>> import jax.numpy as jnp
  >>> half = chunk_coefficients(jnp.ones(2, bool), jnp.full(2, 0.5), None)
  >>> decayed_inputs(half, jnp.ones((2, 1))).tolist()
  [[0.5], [0.25]]
  """
  decay = coefficients.weights_decay
  return x * (decay if decay.ndim > 1 else decay[:, None])


def decayed_scores(
  shares: Float[Array, "C J *I"], x: Float[Array, "C I"], y: Float[Array, "J I"]
) -> Float[Array, "C J"]:
  """Products of x[i] with y[j], times what is left of j after token i.

  >>> import jax.numpy as jnp
  >>> decayed_scores(jnp.full((1, 1), 0.5), jnp.ones((1, 3)), jnp.ones((1, 3)))
  Array([[1.5]], dtype=float32)
  """
  if shares.ndim == 2:
    return shares * (x @ y.T)
  # C J I numbers, in one product: factored by exponentials of summed logarithms
  # it would be a matrix product, and overflow where a feature forgets all.
  return jnp.einsum("id,ijd,jd->ij", x, shares, y)


def chunk_coefficients(
  is_token: Bool[Array, " C"],
  decay: Float[Array, "C *I"] | None,
  momentum: Float[Array, " C"] | None,
  dtype: DTypeLike = jnp.float32,
) -> ChunkCoefficients:
  """Coefficients of a chunk whose tokens make one step each.

  Args:
    is_token: False at padding, which changes nothing.
    decay: α, ``C`` or by channel ``C I``, which goes without momentum; None
      decays nothing.
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
  steps = products * _like(columns, products)
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
  gates = jnp.where(_like(is_token, gates), gates, 1)
  return jnp.cumprod(gates, axis=0), gate_products(gates)


def _like(x, other):
  """x with axes of size 1 at its end, as many as `other` has more."""
  return x.reshape(x.shape + (1,) * (other.ndim - x.ndim))


def gate_products(gates: Float[Array, "C *I"]) -> Float[Array, "C C *I"]:
  """p[i, j] = Π_n gates[n], n = j+1 .. i, where i >= j, else 0.

  >>> import jax.numpy as jnp
  >>> gate_products(jnp.array([2.0, 3.0, 5.0])).tolist()
  [[1.0, 0.0, 0.0], [3.0, 1.0, 0.0], [15.0, 5.0, 1.0]]
  """
  count = len(gates)
  rows = jnp.broadcast_to(gates[:, None], (count, count, *gates.shape[1:]))
  square = jnp.ones((count, count), bool)
  below = _like(jnp.tril(square, -1), rows)
  # Not by differences of logarithms: a gate may be 0, with a gradient.
  products = jnp.cumprod(jnp.where(below, rows, 1), axis=0)
  return jnp.where(_like(jnp.tril(square), rows), products, 0)
