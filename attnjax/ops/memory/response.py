"""What each token of a chunk comes to weigh in the memory of each later one.

Momentum and decay are two linear recurrences over the tokens of a chunk,

    S[i] = η[i] S[i-1] + u[i],   A[i] = a[i] A[i-1] + S[i],   a = 1 - α

so A[i] = kept[i] A[0] + carried[i] S[0] + Σ_j written[i, j] u[j], with numbers
that depend on the gates alone: products of gates, by associative scans.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from attnjax.typing import Array, Bool, DTypeLike, Float

__all__ = ["Response", "products", "response"]


class Response(NamedTuple):
  """Weights of what is added up, for each of C tokens.

  Args:
    kept: of the accumulator before the chunk.
    carried: of the momentum before the chunk, ``C``; None without momentum.
    written: of each -θ g, ``C C``, lower triangular.
    stepped: of each step, the same without momentum.
    momentum_kept: of the momentum before the chunk, in the momentum, ``C``.
    momentum_written: of each -θ g, in the momentum, ``C C``.
  """

  kept: Float[Array, " C"]
  carried: Any
  written: Float[Array, "C C"]
  stepped: Float[Array, "C C"]
  momentum_kept: Any
  momentum_written: Any

  def before(self) -> "Response":
    """The same one token earlier: what each token finds."""
    up = lambda x, first: jnp.concatenate([jnp.full_like(x[:1], first), x[:-1]])
    carried = None if self.carried is None else up(self.carried, 0)
    return self._replace(
      kept=up(self.kept, 1), carried=carried, written=up(self.written, 0)
    )


def products(gates: Float[Array, " C"]) -> Float[Array, "C C"]:
  """p[i, j] = Π_n gates[n], n = j+1 .. i, where i >= j, else 0.

  >>> import jax.numpy as jnp
  >>> products(jnp.array([2.0, 3.0, 5.0])).tolist()
  [[1.0, 0.0, 0.0], [3.0, 1.0, 0.0], [15.0, 5.0, 1.0]]
  """
  count = len(gates)
  rows = jnp.broadcast_to(gates[:, None], (count, count))
  below = jnp.tril(jnp.ones((count, count), bool), -1)
  # No logarithms: a gate may be 0, and have a gradient there.
  return jnp.tril(jnp.cumprod(jnp.where(below, rows, 1), axis=0))


def response(
  real: Bool[Array, " C"],
  decay: Float[Array, " C"] | None,
  momentum: Float[Array, " C"] | None,
  dtype: DTypeLike = jnp.float32,
) -> Response:
  """The response of a chunk to one step a token.

  Args:
    real: which tokens there are; others change nothing.
    decay: α; None forgets nothing.
    momentum: η; None carries nothing on.
    dtype: of the numbers.

  >>> import jax.numpy as jnp
  >>> half = jnp.full(2, 0.5)
  >>> found = response(jnp.ones(2, bool), half, half)
  >>> found.kept.tolist(), found.written.tolist()
  ([0.5, 0.25], [[1.0, 0.0], [1.0, 1.0]])
  """
  shown = real.astype(dtype)
  kept, weights = _recurrence(real, None if decay is None else 1 - decay, dtype)
  stepped = weights * shown[None]
  if momentum is None:
    return Response(kept, None, stepped, stepped, None, None)
  momentum_kept, steps = _recurrence(real, momentum, dtype)
  return Response(
    kept,
    stepped @ momentum_kept,
    stepped @ (steps * shown[None]),
    stepped,
    momentum_kept,
    steps * shown[None],
  )


def _recurrence(real, gates, dtype):
  """(of what was before, of each step) of one recurrence."""
  count = len(real)
  if gates is None:
    return jnp.ones(count, dtype), jnp.tril(jnp.ones((count, count), dtype))
  gates = jnp.where(real, gates, 1)
  return jnp.cumprod(gates), products(gates)
