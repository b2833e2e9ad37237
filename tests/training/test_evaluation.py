"""Evaluation: exact sums over batches, one compile, no mean over nothing."""

import math

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.training import evaluation


def weighted_sum(params, batch, key):
  assert key is None
  total = jnp.sum(params * batch["x"] * batch["weights"])
  hits = jnp.sum(batch["x"] > 0)
  return total, jnp.sum(batch["weights"]), {"hits": hits}


def batches(count, seed=0):
  random = np.random.default_rng(seed)
  for _ in range(count):
    yield {
      "x": random.normal(size=7).astype(np.float32),
      "weights": random.integers(0, 3, 7).astype(np.float32),
    }


def test_means_are_formed_from_sums_over_all_batches():
  params = jnp.float32(1.5)
  found = evaluation.make_evaluate(weighted_sum)(params, batches(5))
  x = np.concatenate([b["x"] for b in batches(5)]).astype(np.float64)
  weights = np.concatenate([b["weights"] for b in batches(5)])
  loss = 1.5 * (x * weights).sum() / weights.sum()
  assert found["weight"] == weights.sum()
  np.testing.assert_allclose(found["loss"], loss, rtol=1e-6)
  np.testing.assert_allclose(found["perplexity"], math.exp(loss), rtol=1e-6)
  hits = (x > 0).sum() / weights.sum()
  np.testing.assert_allclose(found["hits"], hits, rtol=1e-12)


def test_it_compiles_once_and_reads_a_batch_late():
  loss_fn, made = chex.assert_max_traces(weighted_sum, 1), []
  for _ in range(2):
    evaluate = evaluation.make_evaluate(loss_fn)
    made.append(evaluate(jnp.float32(2.0), batches(3)))
  assert made[0] == made[1]


def test_the_sum_over_batches_is_in_float64():
  def loss_fn(params, batch, key):
    return batch, 1.0

  # In float32, 2**24 + 1 is 2**24.
  values = [jnp.float32(2**24)] + [jnp.float32(1)] * 5
  found = evaluation.make_evaluate(loss_fn)(None, values)
  assert found["loss"] * 6 == pytest.approx(2**24 + 5, abs=1e-6)
  assert found["perplexity"] == math.inf


def test_compute_dtype_reaches_the_loss():
  def loss_fn(params, batch, key):
    assert params.dtype == jnp.bfloat16
    return jnp.sum(params).astype(jnp.float32), 1.0

  params = jnp.float32(1 + 2**-12)
  found = evaluation.make_evaluate(loss_fn, "bfloat16")(params, [0])
  assert found["loss"] == 1.0


@pytest.mark.parametrize("count", [0, 2])
def test_nothing_to_average(count):
  nothing = ({**b, "weights": 0 * b["weights"]} for b in batches(count))
  with pytest.raises(ValueError, match=f"weight, got {count} batches"):
    evaluation.make_evaluate(weighted_sum)(jnp.float32(1.0), nothing)
