"""Attention over parts of the keys merges into attention over all."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks
from attnjax.ops.attention import Partial, merge

B, T, S, H, D, E = 2, 3, 11, 2, 5, 7


@pytest.fixture
def qkv(key):
  shapes = ((B, T, H, D), (B, S, H, D), (B, S, H, E))
  keys = jax.random.split(key, 3)
  return [jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]


def over(q, k, v, start, stop, **options):
  out, aux = attnjax.attend(
    q, k[:, start:stop], v[:, start:stop], aux=("logsumexp",), **options
  )
  return Partial(out, aux.logsumexp)


def close(one, other, atol=2e-6):
  for x, y in zip(one, other, strict=True):
    np.testing.assert_allclose(x, y, atol=atol)


@pytest.mark.parametrize("cuts", [(0, 11), (0, 4, 11), (0, 1, 1, 6, 11)])
def test_parts_make_the_whole(qkv, cuts):
  parts = [over(*qkv, a, b) for a, b in itertools.pairwise(cuts)]
  close(merge(parts), over(*qkv, 0, S))


def test_merge_is_associative_and_commutative(qkv):
  a, b, c = (over(*qkv, *ends) for ends in ((0, 2), (2, 7), (7, 11)))
  close(merge([merge([a, b]), c]), merge([a, merge([b, c])]))
  close(merge([a, b]), merge([b, a]))


def test_a_part_that_sees_nothing_changes_nothing_and_has_no_gradient(qkv):
  q, k, v = qkv
  whole = over(q, k, v, 0, S)
  nothing = over(q, k, v, 0, 3, mask=~masks.full())
  for x, y in zip(merge([whole, nothing]), whole, strict=True):
    np.testing.assert_array_equal(x, y)

  def f(q):
    part = over(q, k, v, 0, 3, mask=~masks.full())
    return merge([part, part]).out.sum()

  assert (jax.grad(f)(q) == 0).all()
  both = merge([nothing, nothing])
  assert (both.out == 0).all()
  assert jnp.isneginf(both.logsumexp).all()


def test_gradients_are_those_of_the_whole(qkv):
  def parts(q, k, v):
    return (merge([over(q, k, v, 0, 5), over(q, k, v, 5, S)]).out ** 2).sum()

  def whole(q, k, v):
    return (over(q, k, v, 0, S).out ** 2).sum()

  for x, y in zip(
    jax.grad(parts, (0, 1, 2))(*qkv),
    jax.grad(whole, (0, 1, 2))(*qkv),
    strict=True,
  ):
    np.testing.assert_allclose(x, y, atol=2e-5)


def test_parts_must_be_alike(qkv):
  with pytest.raises(ValueError, match="one or more partials of equal shapes"):
    merge([])
  part = over(*qkv, 0, S)
  with pytest.raises(ValueError, match="equal shapes"):
    merge([part, Partial(part.out[:1], part.logsumexp[:1])])
