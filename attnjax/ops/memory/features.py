"""What a memory sees of a key or a query: itself, or its powers too."""

import dataclasses
import math

import jax.numpy as jnp

from attnjax.typing import Array, Float

__all__ = ["Features", "polynomial"]


@dataclasses.dataclass(frozen=True)
class Features:
  """A map of keys and queries; the plain one leaves them as they are.

  >>> import jax.numpy as jnp
  >>> Features()(jnp.ones(3)).shape, Features().width(3)
  ((3,), 3)
  """

  degree: int = 1

  def width(self, width: int) -> int:
    """Features of a vector of a width."""
    return sum(width**n for n in range(1, self.degree + 1))

  def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... A"]:
    """Its powers in a row, each divided by the root of a factorial."""
    powers = [x]
    for _ in range(1, self.degree):
      product = powers[-1][..., :, None] * x[..., None, :]
      powers.append(product.reshape((*x.shape[:-1], -1)))
    if self.degree == 1:
      return x
    scaled = [
      power / math.sqrt(math.factorial(n)) for n, power in enumerate(powers, 1)
    ]
    return jnp.concatenate(scaled, -1)


def polynomial(degree: int = 2) -> Features:
  """Powers up to a degree, φ(q) · φ(k) = Σ_n (q · k)^n / n!, n = 1 .. degree.

  The beginning of exp(q · k) - 1: a matrix holds more pairs apart.

  Args:
    degree: >= 1; the width grows as D^degree.

  Raises:
    ValueError: if the degree is below 1.

  >>> import jax.numpy as jnp
  >>> phi, q, k = polynomial(2), jnp.array([1.0, 2.0]), jnp.array([3.0, 0.5])
  >>> round(float(phi(q) @ phi(k)), 4), 4.0 + 4.0**2 / 2
  (12.0, 12.0)

  Reference:
    Behrouz et al., "ATLAS: Learning to Optimally Memorize the Context at Test
    Time", 2025, arXiv 2505.23735, section 3.
  """
  if degree < 1:
    raise ValueError(f"polynomial: degree must be at least 1, got {degree}")
  return Features(degree)
