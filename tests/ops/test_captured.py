"""A function of a mask or score mod that closes over a traced array."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks, score_mods


def scored(logit, b, h, q, k, slope):
  return logit - slope[h] * (q - k).astype(logit.dtype)


def loss(slope, make):
  x = jax.random.normal(jax.random.key(0), (1, 7, 2, 4), jnp.float32)
  out = attnjax.attend(x, x, x, mask=masks.causal(), score_mod=make(slope))
  return (out**2).sum()


class Scored:
  """An object that is called, and one whose method is."""

  def __init__(self, slope):
    self.slope = slope

  def __call__(self, logit, b, h, q, k):
    return scored(logit, b, h, q, k, self.slope)

  def method(self, logit, b, h, q, k):
    return self(logit, b, h, q, k)


CLOSED = {
  "closure": lambda s: score_mods.from_fn(
    lambda x, b, h, q, k: scored(x, b, h, q, k, s)
  ),
  "partial": lambda s: score_mods.from_fn(functools.partial(scored, slope=s)),
  "tree": lambda s: (
    lambda held: score_mods.from_fn(
      lambda x, b, h, q, k: scored(x, b, h, q, k, held["slope"])
    )
  )({"slope": s}),
  "object": lambda s: score_mods.from_fn(Scored(s)),
  "method": lambda s: score_mods.from_fn(Scored(s).method),
}


@pytest.mark.parametrize("name", CLOSED)
def test_it_is_refused_with_the_remedy_under_every_transform(name):
  """Its gradient was 0 under jit, without a word."""
  slope = jnp.array([0.1, 0.2])
  call = lambda s: loss(s, CLOSED[name])
  for of in (jax.grad(call), jax.jit(jax.grad(call)), jax.grad(jax.jit(call))):
    with pytest.raises(ValueError, match=r"score_mods\.from_fn\(fn, array\)"):
      of(slope)
  given = lambda s: loss(s, lambda s: score_mods.from_fn(scored, s))
  np.testing.assert_allclose(call(slope), given(slope), rtol=1e-6)
  assert (jax.jit(jax.grad(given))(slope) != 0).all()


def test_so_is_that_of_a_mask():
  ids = jnp.array([0, 0, 1])
  make = lambda ids: masks.from_fn(lambda b, h, q, k: ids[q] == ids[k])
  assert make(ids).dense(3, 3).sum() == 5
  with pytest.raises(ValueError, match=r"masks\.from_fn\(fn, array\)"):
    jax.jit(lambda ids: make(ids).dense(3, 3))(ids)
