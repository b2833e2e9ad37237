"""A number that all logits of a row have in common changes nothing.

Logits are whole numbers of eighths, so that they and their sums with the
numbers here are exact in float32: what differs is lost by the attention.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks

T, S, H = 6, 7, 2
SMALL = attnjax.Blockwise(2, 4)
COMMON = (1.0, 2.0**10, -(2.0**17), 2.0**20)


def drawn(seed, *shape):
  random = np.random.default_rng(seed)
  return jnp.asarray(random.integers(-8, 9, shape), jnp.float32) / 8


def bias():
  return drawn(0, H, T, S) * 8


def call(value, common, aux=(), **options):
  zero = jnp.zeros((T, H, 1)), jnp.zeros((S, H, 1))
  return attnjax.attend(
    *zero,
    value,
    bias=bias() + common,
    mask=masks.causal(),
    implementation=SMALL,
    aux=aux,
    **options,
  )


VALUE = drawn(1, S, H, 3)
ALONG = drawn(2, S, H, 3)


def biased(common):
  """Of the bias, whose gradient passes by the weights of each key."""

  def read(moving):
    out, aux = attnjax.attend(
      jnp.zeros((T, H, 1)),
      jnp.zeros((S, H, 1)),
      VALUE,
      bias=bias() + common + moving,
      implementation=SMALL,
      aux=("entropy", "max_logit", "logsumexp"),
    )
    return (out**2).sum() + (aux.entropy**2).sum()

  return read


@pytest.mark.parametrize("common", COMMON)
def test_of_the_output_and_its_derivatives(common):
  plain = lambda value: call(value, 0.0)
  moved = lambda value: call(value, common)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)
  close(moved(VALUE), plain(VALUE))
  for derivative in (
    lambda f: jax.grad(lambda x: (f(x) ** 2).sum())(VALUE),
    lambda f: jax.jvp(f, (VALUE,), (ALONG,))[1],
  ):
    close(derivative(moved), derivative(plain))


@pytest.mark.slow
@pytest.mark.parametrize("common", COMMON)
def test_of_the_derivatives_by_logits_to_second_order(common):
  at, along = jnp.zeros((H, T, S)), drawn(3, H, T, S)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
  gradient = lambda common: jax.grad(biased(common))
  close(gradient(common)(at), gradient(0.0)(at))
  twice = lambda common: jax.jvp(gradient(common), (at,), (along,))[1]
  close(twice(common), twice(0.0))


@pytest.mark.parametrize("implementation", [SMALL, "reference"])
def test_of_a_row_that_is_padding_throughout(implementation):
  """The least number of float32 as a bias, as many a library has it."""
  for common in (-1e9, float(jnp.finfo(jnp.float32).min)):
    read = lambda value, common=common: attnjax.attend(
      jnp.zeros((1, 1, 1)),
      jnp.zeros((8, 1, 1)),
      value,
      bias=jnp.full((1, 1, 8), common),
      implementation=implementation,
    ).sum()
    value = jnp.arange(8.0)[:, None, None]
    np.testing.assert_allclose(read(value), 3.5, rtol=1e-6)
    gradient = jax.grad(read)(value)
    np.testing.assert_allclose(gradient, np.full(value.shape, 1 / 8), rtol=1e-6)


def test_of_parts_that_are_merged():
  value = jnp.arange(8.0)[:, None, None]

  def part(keys):
    out, aux = attnjax.attend(
      jnp.zeros((1, 1, 1)),
      jnp.zeros((4, 1, 1)),
      value[keys],
      bias=jnp.full((1, 1, 4), -1e9),
      aux=("logsumexp",),
    )
    return attnjax.Partial(out, aux.logsumexp)

  whole = attnjax.merge(part(keys) for keys in (slice(0, 4), slice(4, 8)))
  np.testing.assert_allclose(whole.out, 3.5, rtol=1e-6)
  chex.assert_tree_all_finite(whole)
