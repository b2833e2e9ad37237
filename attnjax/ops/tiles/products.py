"""Matrix products of a tile, in the form that XLA's CPU compiler is fast at.

Its fast product wants a left operand that contracts along its last axis, and
a small one is soon transposed to be so. In the gradient of a product the
cotangent is on the left, however large: dK = dSᵀ Q of 4 x 512 x 512 logits and
D = 64 took 2.4 ms where dKᵀ = Qᵀ dS takes 1.0 (jax 0.10.2, two threads).
"""

from collections.abc import Callable

import jax
from jax import lax

from attnjax.ops.inlined import inlined

__all__ = ["small_left_operands"]


def small_left_operands(function: Callable) -> Callable:
  """The function, its products with the small operand on the left.

  Only products whose left operand does not contract along its last axis are
  turned: A B becomes (Bᵀ Aᵀ)ᵀ, sums of the same products. It is for lowering:
  where a derivative is custom, that of the result is not.

  >>> import jax, jax.numpy as jnp
  >>> product = lambda a, b: [jnp.einsum("ts,td->sd", a, b)]
  >>> text = jax.make_jaxpr(small_left_operands(product))
  >>> "f32[2,8] = dot_general" in str(text(jnp.ones((4, 8)), jnp.ones((4, 2))))
  True
  """

  def turned(*args):
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
    leaves = jax.tree.leaves(args)
    found = inlined(closed.jaxpr, closed.consts, leaves, _turned)
    return jax.tree.unflatten(jax.tree.structure(shape), found)

  return turned


def _turned(equation, operands: list) -> list | None:
  """The result of an equation that is a product; None of others."""
  if equation.primitive is not lax.dot_general_p:
    return None
  return [_product(*operands, **equation.params)]


def _product(left, right, *, dimension_numbers, **params):
  """A product, turned where the left operand is large and lies badly."""
  (contracted, other), (batch, other_batch) = dimension_numbers
  in_place = contracted == (left.ndim - 1,)
  if in_place or len(contracted) != 1 or left.size <= right.size:
    return lax.dot_general_p.bind(
      left, right, dimension_numbers=dimension_numbers, **params
    )

  found = lax.dot_general_p.bind(
    right,
    left,
    dimension_numbers=((other, contracted), (other_batch, batch)),
    **params,
  )
  # Axes: those of the batch, of the right operand, of the left.
  first, own = len(batch), right.ndim - len(batch) - len(other)
  order = [*range(first), *range(first + own, found.ndim)]
  return lax.transpose(found, [*order, *range(first, first + own)])
