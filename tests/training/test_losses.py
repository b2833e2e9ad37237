"""Cross-entropy: its value, its gradient, and what a weight of 0 hides."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.training import losses

B, T, V = 2, 5, 7


@pytest.fixture
def batch(key):
  keys = jax.random.split(key, 3)
  logits = 3 * jax.random.normal(keys[0], (B, T, V))
  targets = jax.random.randint(keys[1], (B, T), 0, V)
  weights = jax.random.uniform(keys[2], (B, T)).at[0, 1].set(0.0)
  return logits, targets, weights


def test_equals_the_float64_definition(batch):
  logits, targets, weights = (np.asarray(x) for x in batch)
  logits = logits.astype(np.float64)
  expected = 0.0
  for index in np.ndindex(B, T):
    normalizer = np.log(np.exp(logits[index]).sum())
    nats = normalizer - logits[index][targets[index]]
    expected += weights[index] * nats
  total, weight = losses.cross_entropy(*batch)
  chex.assert_type([total, weight], jnp.float32)
  np.testing.assert_allclose(total, expected, rtol=1e-6)
  np.testing.assert_allclose(weight, weights.sum(), rtol=1e-6)


def test_the_gradient_is_weight_times_p_minus_one_hot(batch):
  logits, targets, weights = batch
  gradient = jax.grad(lambda x: losses.cross_entropy(x, *batch[1:])[0])(logits)
  error = jax.nn.softmax(logits) - jax.nn.one_hot(targets, V)
  chex.assert_trees_all_close(gradient, weights[..., None] * error, atol=1e-6)


@pytest.mark.parametrize("poison", [jnp.nan, jnp.inf, -jnp.inf])
def test_weight_zero_adds_exactly_nothing(batch, poison):
  logits, targets, weights = batch
  poisoned = logits.at[0, 1].set(poison)
  # A target that is no class is the usual mark of what does not count.
  targets = targets.at[0, 1].set(-100)

  def loss(logits, targets):
    return losses.cross_entropy(logits, targets, weights)[0]

  clean = losses.cross_entropy(*batch)[0]
  value, gradient = jax.value_and_grad(loss)(poisoned, targets)
  assert float(value) == float(clean)
  chex.assert_tree_all_finite(gradient)
  np.testing.assert_array_equal(gradient[0, 1], jnp.zeros(V))


def test_huge_logits_are_stable():
  logits = jnp.array([[1e30, -1e30, 0.0]])
  total, _ = losses.cross_entropy(logits, jnp.array([0]), jnp.ones(1))
  assert float(total) == 0.0


@pytest.mark.parametrize("target", [-1, V, V + 3])
def test_a_target_that_is_no_class_is_nan_and_not_another_class(batch, target):
  logits, targets, weights = batch
  targets = targets.at[1, 1].set(target)
  total, _ = losses.cross_entropy(logits, targets, weights)
  assert jnp.isnan(total)


def test_bfloat16_logits_are_summed_in_float32():
  ones = jnp.ones(1000)
  logits = jnp.zeros((1000, 2), jnp.bfloat16)
  total, weight = losses.cross_entropy(logits, jnp.zeros(1000, int), ones)
  chex.assert_type([total, weight], jnp.float32)
  np.testing.assert_allclose(total, 1000 * np.log(2), rtol=1e-6)
  assert float(weight) == 1000.0


def test_float64_stays_float64(batch):
  with jax.enable_x64(True):
    wide = [jnp.asarray(np.asarray(x, np.float64)) for x in batch[::2]]
    total, weight = losses.cross_entropy(wide[0], batch[1], wide[1])
    chex.assert_type([total, weight], jnp.float64)


def test_loss_sums_casts_floats_and_nothing_else():
  params = {"kernel": jnp.ones(3), "ids": jnp.arange(3)}

  def loss_fn(params, batch, key):
    seen = {name: x.dtype for name, x in params.items()}
    assert seen == {"kernel": jnp.bfloat16, "ids": jnp.int32}
    return params["kernel"].sum(), 3, {"hits": jnp.int32(2)}

  sums = losses.loss_sums(loss_fn, params, None, None, "bfloat16")
  assert jax.tree.map(float, sums) == (3.0, 3.0, {"hits": 2.0})
  chex.assert_type(jax.tree.leaves(sums), jnp.float32)


@pytest.mark.parametrize(
  ("returned", "words"),
  [
    ((jnp.ones((4, 2)), jnp.ones(())), r"total must be a scalar.*\[4, 2\]"),
    ((jnp.ones(()), jnp.ones(2)), r"weight must be a scalar.*\[2\]"),
    ((1.0, 1.0, {"hits": jnp.ones(3)}), r"hits must be a scalar.*\[3\]"),
    (jnp.ones(()), r"must return \(total, weight\)"),
  ],
)
def test_a_loss_that_is_no_sums_is_refused_in_words(returned, words):
  with pytest.raises(ValueError, match=words):
    losses.loss_sums(lambda *_: returned, None, None, None)
