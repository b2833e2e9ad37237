"""Optimizers of a memory: gradient descent, momentum, and Muon."""

import dataclasses

import jax
import jax.numpy as jnp

from attnjax.typing import Array, Float

__all__ = [
  "Algorithm",
  "gradient_descent",
  "momentum",
  "muon",
  "orthogonalized",
]

# Coefficients of the quintic a x + b x³ + c x⁵ of Jordan et al. Its slope at 0
# is steep, so that 5 iterations suffice; singular values then are between 0.7
# and 1.2, not 1.
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


@dataclasses.dataclass(frozen=True)
class Algorithm:
  """An optimizer: it turns the gradient g of a token into a step.

      S[t] = η[t] S[t-1] - θ[t] g[t],   step[t] = S[t]

  Args:
    has_momentum: whether there is a gate η of momentum.
    dampened: whether a gradient enters the momentum with 1 - η[t], so that all
      steps it makes together never go further than θ[t] g[t].
    iterations: of Newton and Schulz that orthogonalise a step; 0: none. With
      them the rate scales the step, θ[t] orthogonal(S[t]), instead of the
      gradient, whose norm orthogonalisation removes.

  >>> momentum().has_momentum, muon().iterations
  (True, 5)
  """

  has_momentum: bool = False
  iterations: int = 0
  dampened: bool = False

  def __post_init__(self):
    if self.dampened and (not self.has_momentum or self.iterations):
      raise ValueError(
        "Algorithm: dampened=True scales gradients by 1 - η, which needs"
        " momentum, and does nothing to a step that is orthogonalised; leave it"
        " out"
      )


def gradient_descent() -> Algorithm:
  """Gradient descent, step[t] = -θ[t] g[t].

  >>> gradient_descent().has_momentum
  False
  """
  return Algorithm()


def momentum(*, dampened: bool = False) -> Algorithm:
  """Momentum, S[t] = η[t] S[t-1] - θ[t] g[t]; step[t] = S[t].

  Plain momentum that stays at η goes θ / (1 - η) along a gradient, without a
  bound as η nears 1. Dampened, S[t] = η[t] S[t-1] - (1 - η[t]) θ[t] g[t], it
  goes θ.

  Args:
    dampened: whether a gradient enters with 1 - η[t].

  >>> momentum(dampened=True).dampened
  True

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans: Learning to Memorize at Test Time", 2025,
    arXiv 2501.00663, equation 10; dampening is that of PyTorch's SGD, here by
    the gate.
  """
  return Algorithm(has_momentum=True, dampened=dampened)


def muon(iterations: int = 5, *, has_momentum: bool = True) -> Algorithm:
  """Muon, S[t] = η[t] S[t-1] - g[t]; step[t] = θ[t] orthogonal(S[t]).

  Args:
    iterations: of Newton and Schulz, >= 1.
    has_momentum: without, S[t] = -g[t].

  Raises:
    ValueError: if there is no iteration.

  >>> muon(3).iterations
  3

  Reference:
    Jordan et al., "Muon: An optimizer for hidden layers in neural networks",
    2024; in a memory (Atlas): Behrouz et al., "ATLAS: Learning to Optimally
    Memorize the Context at Test Time", 2025, arXiv 2505.23735.
  """
  if iterations < 1:
    raise ValueError(f"muon: iterations must be at least 1, got {iterations}")
  return Algorithm(has_momentum, iterations)


def orthogonalized(
  x: Float[Array, "... I O"], iterations: int = 5
) -> Float[Array, "... I O"]:
  """Newton-Schulz approximation of U Vᵀ, the orthogonal factor of x = U Σ Vᵀ.

  Args:
    x: matrices; 0 stays 0.
    iterations: of Newton and Schulz; after 5 singular values are between 0.7
      and 1.2.

  >>> import jax.numpy as jnp
  >>> x = jnp.diag(jnp.array([3.0, 1.0]))
  >>> spread = jnp.linalg.svd(orthogonalized(x), compute_uv=False)
  >>> bool((spread > 0.6).all() and (spread < 1.3).all())
  True

  Reference:
    Jordan et al., "Muon", 2024.
  """
  # Transposed if tall, so that the Gram matrix is that of the shorter side.
  tall = x.shape[-2] > x.shape[-1]
  x = jnp.swapaxes(x, -1, -2) if tall else x

  # The iteration converges for singular values of at most 1, which a Frobenius
  # norm of 1 ensures.
  square = (x * x).sum((-2, -1), keepdims=True)
  x = x * jax.lax.rsqrt(jnp.where(square > 0, square, 1))

  a, b, c = _NEWTON_SCHULZ
  for _ in range(iterations):
    gram = x @ jnp.swapaxes(x, -1, -2)
    x = a * x + (b * gram + c * gram @ gram) @ x

  return jnp.swapaxes(x, -1, -2) if tall else x
