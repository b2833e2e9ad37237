"""One step: microbatches, dtypes, keys, donation, and a batch of weight 0."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from attnjax.training import optimizer as optimizers
from attnjax.training import state as states
from attnjax.training import step as steps

B, D, E = 12, 5, 3


def squared_error(params, batch, key):
  """A regression whose rows have unequal weights."""
  prediction = jnp.tanh(batch["x"] @ params["kernel"]) + params["bias"][None]
  errors = jnp.sum((prediction - batch["y"]) ** 2, axis=-1)
  total = jnp.sum(batch["weights"] * errors)
  hits = jnp.sum(jnp.where(errors < 1, batch["weights"], 0.0))
  return total, jnp.sum(batch["weights"]), {"hits": hits}


@pytest.fixture
def params(key):
  kernel = jax.random.normal(key, (D, E))
  return {"kernel": kernel, "bias": jnp.zeros(E)}


@pytest.fixture
def batch():
  random = np.random.default_rng(0)
  # Some microbatches weigh nothing at all, others a lot.
  weights = np.arange(B, dtype=np.float32) % 4
  return {
    "x": random.normal(size=(B, D)).astype(np.float32),
    "y": random.normal(size=(B, E)).astype(np.float32),
    "weights": weights,
  }


def stepped(params, batch, optimizer=None, loss_fn=squared_error, **settings):
  optimizer = optimizer or optax.sgd(1.0)
  state = states.init(jax.tree.map(jnp.copy, params), optimizer)
  step = steps.make_step(loss_fn, optimizer, **settings)
  return steps.jit_step(step)(state, batch)


def test_sgd_follows_the_gradient_of_the_mean(params, batch):
  def mean(params):
    total, weight, _ = squared_error(params, batch, None)
    return total / weight

  loss, gradients = jax.value_and_grad(mean)(params)
  after, metrics = stepped(params, batch)
  expected = jax.tree.map(jnp.subtract, params, gradients)
  chex.assert_trees_all_close(after.params, expected, rtol=1e-6)
  np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
  norm = optax.tree.norm(gradients)
  np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-6)
  norm = optax.tree.norm(after.params)
  np.testing.assert_allclose(metrics["parameter_norm"], norm, rtol=1e-6)
  assert float(metrics["weight"]) == batch["weights"].sum()
  assert int(after.step) == 1


@pytest.mark.parametrize("microbatches", [2, 3, 4, 12])
def test_microbatches_equal_one_batch(params, batch, microbatches):
  whole = stepped(params, batch)
  parts = stepped(params, batch, microbatches=microbatches)
  chex.assert_trees_all_close(whole, parts, rtol=1e-5, atol=1e-7)


def test_microbatches_deal_the_rows(batch):
  parts = steps.split_batch(batch, 4)
  chex.assert_shape(parts["x"], (4, 3, D))
  for part in range(4):
    np.testing.assert_array_equal(parts["x"][part], batch["x"][part::4])


def test_sharded_rows_do_not_travel():
  mesh = jax.make_mesh((8,), ("data",), (jax.sharding.AxisType.Auto,))
  rows = NamedSharding(mesh, PartitionSpec("data"))
  x = jax.device_put(jnp.arange(48.0).reshape(16, 3), rows)
  expected = NamedSharding(mesh, PartitionSpec(None, "data"))
  split = jax.jit(lambda x: steps.split_batch(x, 2), out_shardings=expected)
  text = split.lower(x).compile().as_text()
  for collective in ("all-to-all", "all-gather", "collective-permute"):
    assert collective not in text


@pytest.mark.parametrize("shape", [(7, 2), ()])
def test_a_batch_that_microbatches_do_not_divide(params, batch, shape):
  batch["weights"] = np.ones(shape, np.float32)
  with pytest.raises(ValueError, match=r"batch\['weights'\]: .* 3 microbatch"):
    stepped(params, batch, microbatches=3)


def test_no_microbatches():
  with pytest.raises(ValueError, match="microbatches: expected 1 or more"):
    steps.make_step(squared_error, optax.sgd(1.0), microbatches=0)


@pytest.mark.parametrize("microbatches", [1, 3])
def test_weight_zero_gives_no_nan_and_no_change(params, batch, microbatches):
  batch["weights"] = np.zeros(B, np.float32)
  after, metrics = stepped(params, batch, microbatches=microbatches)
  chex.assert_tree_all_finite((after, metrics))
  chex.assert_trees_all_equal(after.params, params)
  assert float(metrics["loss"]) == float(metrics["weight"]) == 0.0


def test_bfloat16_is_for_the_loss_only(params, batch):
  seen = []

  def loss_fn(params, batch, key):
    seen.append({x.dtype for x in jax.tree.leaves(params)})
    narrow = {**batch, "x": batch["x"].astype(params["kernel"].dtype)}
    narrow["y"] = batch["y"].astype(params["kernel"].dtype)
    prediction = jnp.tanh(narrow["x"] @ params["kernel"]) + params["bias"][None]
    errors = jnp.sum((prediction - narrow["y"]) ** 2, axis=-1)
    total = jnp.sum(batch["weights"] * errors.astype(jnp.float32))
    return total, jnp.sum(batch["weights"])

  optimizer = optax.adam(0.1)
  narrow, metrics = stepped(
    params, batch, optimizer, loss_fn, microbatches=2, compute_dtype="bfloat16"
  )
  assert seen[0] == {jnp.dtype(jnp.bfloat16)}
  floats = [
    x
    for x in jax.tree.leaves((narrow, metrics))
    if jnp.issubdtype(x.dtype, jnp.floating)
  ]
  chex.assert_type(floats, jnp.float32)
  wide, exact = stepped(params, batch, optimizer)
  assert float(metrics["loss"]) != float(exact["loss"])
  np.testing.assert_allclose(metrics["loss"], exact["loss"], rtol=0.03)
  chex.assert_trees_all_close(narrow.params, wide.params, atol=0.21)


def test_keys_differ_by_step_microbatch_and_seed():
  def loss_fn(params, batch, key):
    return params * jax.random.uniform(key), 1.0

  optimizer = optax.sgd(0.0)

  def losses(**settings):
    step = steps.make_step(loss_fn, optimizer, **settings)
    state, found = states.init(jnp.float32(1.0), optimizer), []
    for _ in range(3):
      state, metrics = step(state, jnp.zeros(4))
      found.append(float(metrics["loss"]))
    return found

  runs = [losses(), losses(seed=1), losses(microbatches=2)]
  assert len({loss for run in runs for loss in run}) == 9
  assert losses() == runs[0]


def test_a_step_is_compiled_once_and_donates(params, batch):
  loss_fn = chex.assert_max_traces(squared_error, 1)
  optimizer = optimizers.make(optimizers.OptimizerConfig(warmup_steps=2), 11)
  # Two equal steps are one program.
  step, same = (
    steps.jit_step(steps.make_step(loss_fn, optimizer)) for _ in range(2)
  )
  state = states.init(params, optimizer)
  for run in (step, step, same):
    before = state
    state, _ = run(before, batch)
    assert before.params["kernel"].is_deleted()
  assert int(state.step) == 3


def test_the_metrics_of_the_whole_optimizer(params, batch):
  config = optimizers.OptimizerConfig(peak_learning_rate=0.5, warmup_steps=4)
  optimizer = optimizers.make(config, 11)
  _, metrics = stepped(params, batch, optimizer)
  assert set(metrics) == {
    "loss",
    "gradient_norm",
    "parameter_norm",
    "weight",
    "learning_rate",
    "hits",
  }
  assert float(metrics["learning_rate"]) == 0.125
  # Before clipping: far above clip_norm = 1.
  assert float(metrics["gradient_norm"]) > 1.5
  assert 0 <= float(metrics["hits"]) <= 1


def test_a_flax_module_trains_as_a_plain_pytree(batch):
  def loss_fn(model, batch, key):
    errors = (model(batch["x"]) - batch["y"]) ** 2
    return jnp.sum(errors), jnp.float32(errors.size)

  optimizer = optimizers.make(
    optimizers.OptimizerConfig(peak_learning_rate=0.1, warmup_steps=0), 100
  )
  state = states.init(nnx.Linear(D, E, rngs=nnx.Rngs(0)), optimizer)
  step = steps.jit_step(steps.make_step(loss_fn, optimizer, microbatches=3))
  losses = []
  for _ in range(50):
    state, metrics = step(state, batch)
    losses.append(float(metrics["loss"]))
  assert losses[-1] < 0.75 * losses[0]
  assert isinstance(state.params, nnx.Linear)


def test_state_is_a_pytree_with_abstract_shapes(params):
  optimizer = optax.adam(0.1)
  abstract = jax.eval_shape(lambda p: states.init(p, optimizer), params)
  assert isinstance(abstract, states.TrainState)
  chex.assert_trees_all_equal_shapes_and_dtypes(
    abstract, states.init(params, optimizer)
  )
