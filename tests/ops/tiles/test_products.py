"""Products with the small operand on the left: the same sums of products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.ops.tiles.products import small_left_operands

_RNG = np.random.default_rng(0)


def draw(*shape):
  return _RNG.standard_normal(shape).astype(np.float32)


def products(function, *args):
  """The shapes of the left operands of a function's products."""
  jaxpr = jax.make_jaxpr(function)(*args).jaxpr
  return [
    x.invars[0].aval.shape for x in jaxpr.eqns if "dot" in str(x.primitive)
  ]


@pytest.mark.parametrize(
  ("subscripts", "left", "right", "first"),
  [
    # A gradient of keys: the cotangent is large, and contracts along queries.
    ("hts,htd->hsd", (2, 9, 7), (2, 9, 3), (2, 9, 3)),
    # Grouped heads are rows beside the queries.
    ("kgts,kgtd->kgsd", (2, 2, 9, 7), (2, 2, 9, 3), (2, 2, 9, 3)),
    # One that contracts along its last axis stays, however large.
    ("hts,hsd->htd", (2, 9, 7), (2, 7, 3), (2, 9, 7)),
    # A small left operand stays.
    ("htd,hts->hds", (2, 9, 3), (2, 9, 7), (2, 9, 3)),
    # So do products along several axes.
    ("hts,htd->sd", (2, 9, 7), (2, 9, 3), (2, 9, 7)),
  ],
)
def test_which_operand_is_left(subscripts, left, right, first):
  x, y = draw(*left), draw(*right)
  product = lambda x, y: jax.lax.dot_general(
    x, y, dimensions(subscripts), preferred_element_type=jnp.float32
  )
  turned = small_left_operands(product)
  assert products(turned, x, y) == [first]
  np.testing.assert_allclose(turned(x, y), product(x, y), rtol=1e-5, atol=1e-5)


def dimensions(subscripts):
  """`dot_general` numbers of an einsum, whose result it may transpose."""
  operands, out = subscripts.split("->")
  left, right = operands.split(",")
  batch = [a for a in left if a in right and a in out]
  contracted = [a for a in left if a in right and a not in out]
  at = lambda axes, of: tuple(of.index(a) for a in axes)
  return (
    (at(contracted, left), at(contracted, right)),
    (at(batch, left), at(batch, right)),
  )


def test_products_within_calls_are_found():
  @jax.custom_jvp
  def product(x, y):
    return jnp.einsum("hts,htd->hsd", x, y)  # a call of jit by itself

  product.defjvps(lambda t, *_: t[0, 0, 0], lambda t, *_: t[0, 0, 0])
  x, y = draw(2, 9, 7), draw(2, 9, 3)
  turned = small_left_operands(lambda x, y: {"sum": jax.jit(product)(x, y)})
  assert products(turned, x, y) == [(2, 9, 3)]
  np.testing.assert_allclose(
    turned(x, y)["sum"], product(x, y), rtol=1e-5, atol=1e-5
  )


def test_what_is_no_product_stays():
  loop = lambda x: jax.lax.fori_loop(0, 3, lambda n, x: x * n, x) + 1
  x = draw(4)
  np.testing.assert_array_equal(small_left_operands(loop)(x), loop(x))
