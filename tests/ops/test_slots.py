"""A memory of slots: addressed by content, read and written by attention."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks, scoring, slots
from attnjax.testing import oracle

B, T, S, D, E = 3, 5, 7, 11, 2
SHARP = {"scoring": scoring.cosine(temperature=1e-3)}


def draw(*shape, seed=0):
  return jax.random.normal(jax.random.key(seed), shape)


def store(*batch):
  return slots.Slots(draw(*batch, S, D), draw(*batch, S, E, seed=1))


def test_reading_is_attention_of_the_oracle():
  held, query = store(), draw(B, T, D, seed=2)
  wide = lambda x: np.asarray(x, np.float64)[..., None, :]
  rows = lambda x: np.broadcast_to(wide(x), (B, *wide(x).shape))
  truth = oracle.attention(wide(query), rows(held.key), rows(held.value))
  np.testing.assert_allclose(
    slots.read(held, query), truth.out[..., 0, :], atol=1e-5
  )


def test_one_store_serves_all_rows_and_each_row_may_have_its_own():
  query = draw(B, T, D, seed=2)
  mine = store(B)
  got = slots.read(mine, query)
  for row in range(B):
    own = jax.tree.map(lambda x, row=row: x[row], mine)
    chex.assert_trees_all_close(
      got[row], slots.read(own, query[row]), atol=1e-6
    )
  shared = jax.tree.map(lambda x: x[0], mine)
  chex.assert_trees_all_close(
    slots.read(shared, query)[2], slots.read(shared, query[2]), atol=1e-6
  )


def test_weights_are_the_posterior_of_a_noisy_unit_key():
  """p(slot | query) ∝ exp(-|query - key|² / 2σ²), keys of one length."""
  sigma = 0.4
  keys = draw(S, D)
  keys = keys / jnp.linalg.norm(keys, axis=-1, keepdims=True)
  query = keys[:3] + sigma * draw(3, D, seed=4)
  _, aux = slots.read(
    slots.Slots(keys, draw(S, E)),
    query,
    scoring=scoring.scaled_dot(1 / sigma**2),
    aux=("weights",),
  )
  distance = ((query[:, None] - keys[None]) ** 2).sum(-1)
  posterior = jax.nn.softmax(-distance / (2 * sigma**2), axis=-1)
  chex.assert_trees_all_close(aux.weights[0], posterior, atol=1e-6)


@pytest.mark.slow
def test_what_is_written_is_read_and_the_rest_is_kept():
  held, new = store(), draw(1, E, seed=5)
  after = slots.write(held, 3 * held.key[4:5], new, **SHARP)
  chex.assert_trees_all_close(
    slots.read(after, held.key[4:5], **SHARP), new, atol=1e-5
  )
  others = jnp.array([0, 1, 2, 3, 5, 6])
  chex.assert_trees_all_close(
    after.value[others], held.value[others], atol=1e-5
  )
  chex.assert_trees_all_equal(after.key, held.key)


def test_a_soft_write_moves_each_slot_by_its_weight():
  held, new = store(), draw(1, E, seed=5)
  at = draw(1, D, seed=6)
  weights = attnjax.attention_weights(at[:, None], held.key[:, None])[
    0, 0, :, None
  ]
  expected = (1 - weights) * held.value + weights * new
  chex.assert_trees_all_close(
    slots.write(held, at, new).value, expected, atol=1e-6
  )


def test_a_hidden_slot_is_neither_read_nor_written():
  held, query = store(), draw(T, D, seed=2)
  first = {"mask": masks.prefix(2)}
  pull = jax.grad(lambda x: slots.read(x, query, **first).sum())(held)
  for leaf in pull:
    chex.assert_trees_all_equal(leaf[2:], jnp.zeros_like(leaf[2:]))
    assert jnp.abs(leaf[:2]).max() > 0
  after = slots.write(held, query[:1], draw(1, E), **first)
  chex.assert_trees_all_equal(after.value[2:], held.value[2:])


def test_an_empty_store_reads_as_nothing():
  empty = slots.Slots(jnp.zeros((0, D)), jnp.zeros((0, E)))
  chex.assert_trees_all_equal(slots.read(empty, draw(T, D)), jnp.zeros((T, E)))


@pytest.mark.usefixtures("as_a_user")
def test_a_width_that_does_not_fit_is_named():
  with pytest.raises(ValueError, match="key"):
    slots.read(store(), draw(T, D + 1))
