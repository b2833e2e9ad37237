"""A memory whose answers are solved for: ridge regression on what was told."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from attnjax.ops.memory.structures import Linear, Structure
from attnjax.typing import Array, Float

__all__ = ["conjugate_gradient", "ridge"]


@dataclasses.dataclass(frozen=True)
class _Ridge(Structure):
  penalty: float
  iterations: int

  @property
  def solves(self):
    return True

  def shapes(self, width, value_width):
    return {"keys": (width, width), "values": (width, value_width)}

  def told(self, keys, values):
    return {"keys": keys, "values": values}

  def through(self, linear: Linear, x: Array) -> Array:
    product = lambda p: linear("keys", p) + self.penalty * p
    solve = lambda product, y: conjugate_gradient(product, y, self.iterations)
    # Its derivatives are those of the solution, which the last iterations do
    # not have: there they are quotients of rounding errors.
    solved = lax.custom_linear_solve(product, x, solve, symmetric=True)
    return linear("values", solved)


def ridge(penalty: float = 1.0, iterations: int = 30) -> Structure:
  """Ridge regression of the values on the keys that were told.

      M(q) = q (H + λ 1)⁻¹ G,   H = Σ_t θ[t] k[t] ⊗ k[t],
                                G = Σ_t θ[t] k[t] ⊗ v[t]

  the matrix of the least Σ_t θ[t] ‖k[t] M - v[t]‖² + λ ‖M‖², which a delta rule
  descends a step a token. Both sums may decay. Writes of `dot` make them; a
  read solves for its query by conjugate gradients.

  Args:
    penalty: λ, above 0.
    iterations: of conjugate gradients, >= 1; D of them are exact but for
      rounding, and fewer where H has few different eigenvalues.

  Raises:
    ValueError: if a number is out of its range.

  >>> ridge().shapes(3, 2)
  {'keys': (3, 3), 'values': (3, 2)}

  Reference:
    von Oswald et al., "MesaNet: Sequence Modeling by Locally Optimal Test-Time
    Training", 2025, arXiv 2506.05233.
  """
  if not penalty > 0:
    raise ValueError(
      f"ridge: penalty must be above 0, got {penalty}; an empty memory has"
      " nothing else to solve with"
    )
  if iterations < 1:
    raise ValueError(f"ridge: iterations must be at least 1, got {iterations}")
  return _Ridge(penalty, iterations)


def conjugate_gradient(
  product: Callable[[Array], Array],
  right_side: Float[Array, "... D"],
  iterations: int,
) -> Float[Array, "... D"]:
  """Solutions x of product(x) = right side, each row by itself.

  Args:
    product: a symmetric positive definite matrix for each row, times it.
    right_side: rows.
    iterations: >= 1; what is solved before stays.

  >>> import jax.numpy as jnp
  >>> twice = lambda x: 2 * x
  >>> conjugate_gradient(twice, jnp.array([[4.0, 6.0]]), 3).tolist()
  [[2.0, 3.0]]

  Reference:
    Hestenes, Stiefel, "Methods of Conjugate Gradients for Solving Linear
    Systems", 1952.
  """
  dot = lambda a, b: (a * b).sum(-1, keepdims=True)
  # Once a row is solved to the last bit both are 0: it stays.
  ratio = lambda a, b: a / jnp.where(b > 0, b, 1)

  def improve(_, carry):
    x, residual, direction, size = carry
    image = product(direction)
    share = ratio(size, dot(direction, image))
    x, residual = x + share * direction, residual - share * image
    new = dot(residual, residual)
    return x, residual, residual + ratio(new, size) * direction, new

  start = right_side * 0, right_side, right_side, dot(right_side, right_side)
  return jax.lax.fori_loop(0, iterations, improve, start)[0]
