"""The schedule's golden values, the decay mask, clipping, and AdamW itself."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attnjax import config as configs
from attnjax.training import optimizer as optimizers
from attnjax.training import step as steps
from attnjax.training.optimizer import OptimizerConfig


def test_golden_schedule():
  config = OptimizerConfig(peak_learning_rate=2.0, warmup_steps=4, floor=0.25)
  rate = optimizers.schedule(config, steps=12)
  found = [float(rate(count)) for count in range(12)]
  # By hand: n/4 of 2.0, then 2 (1/4 + 3/8 (1 + cos(pi (n - 4) / 8))).
  cosine = [0.9239, 0.7071, 0.3827, 0.0, -0.3827, -0.7071, -0.9239, -1.0]
  decay = [2 * (0.25 + 0.375 * (1 + c)) for c in cosine]
  np.testing.assert_allclose(found, [0.5, 1, 1.5, 2, *decay], atol=1e-4)


def test_the_schedule_has_its_floor_at_the_last_step_and_after():
  config = OptimizerConfig(peak_learning_rate=1.0, warmup_steps=0, floor=0.5)
  rate = optimizers.schedule(config, steps=7)
  np.testing.assert_allclose([rate(6), rate(7), rate(99)], 0.5, rtol=1e-6)
  assert float(rate(0)) > float(rate(1))


def test_the_schedule_is_the_same_under_jit():
  rate = optimizers.schedule(OptimizerConfig(), steps=1000)
  counts = jnp.arange(0, 1000, 97)
  traced = jax.jit(jax.vmap(rate))(counts)
  np.testing.assert_allclose(traced, [rate(int(c)) for c in counts], rtol=1e-5)


def test_a_run_within_its_warmup_is_refused():
  with pytest.raises(ValueError, match="below the 100 steps of the run"):
    optimizers.make(OptimizerConfig(warmup_steps=100), steps=100)


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("peak_learning_rate", 0.0),
    ("floor", 1.5),
    ("beta2", -0.1),
    ("clip_norm", 0.0),
    ("warmup_steps", -1),
    ("weight_decay", -0.1),
  ],
)
def test_values_out_of_range_are_named(name, value):
  with pytest.raises(ValueError, match=f"{name} must be"):
    OptimizerConfig(**{name: value})


def test_every_hyper_parameter_has_a_help_line():
  assert len(configs.leaves(OptimizerConfig())) == 12


class Stack(nnx.Module):
  """Stacked layers: biases and scales have two axes, like matrices."""

  def __init__(self):
    self.embed = nnx.Embed(5, 3, rngs=nnx.Rngs(0))
    self.norm = nnx.LayerNorm(3, rngs=nnx.Rngs(0))
    self.norm.scale = nnx.Param(jnp.ones((2, 3)))
    self.norm.bias = nnx.Param(jnp.ones((2, 3)))
    self.mlp = nnx.List([nnx.Linear(3, 3, rngs=nnx.Rngs(0))])
    self.sink = nnx.Param(jnp.ones((2, 7)))


def decayed_paths(mask):
  found = jax.tree_util.tree_leaves_with_path(mask)
  return {jax.tree_util.keystr(path) for path, decays in found if decays}


def test_the_mask_of_a_module_goes_by_name_and_not_by_rank():
  mask = optimizers.decay_mask(Stack())
  assert decayed_paths(mask) == {
    ".embed.embedding.value",
    ".mlp[0].kernel.value",
  }


def test_the_mask_of_a_dict():
  params = {"layers": {"query_kernel": 1.0, "scale": 1.0}, "kernel_bias": 1.0}
  mask = optimizers.decay_mask(params)
  assert decayed_paths(mask) == {"['layers']['query_kernel']"}
  mask = optimizers.decay_mask(params, "scale|bias")
  assert decayed_paths(mask) == {"['layers']['scale']", "['kernel_bias']"}


def test_weights_that_should_decay_and_have_no_matching_name():
  with pytest.raises(ValueError, match=r"matches no parameter, of b, w; name"):
    optimizers.make(OptimizerConfig(), 1000).init({"w": 1.0, "b": 1.0})


def updated(config, params, gradients, steps=1):
  optimizer = optimizers.make(config, 1000)
  state = optimizer.init(params)
  for _ in range(steps):
    updates, state = jax.jit(optimizer.update)(gradients, state, params)
    params = optax.apply_updates(params, updates)
  return params, state


def test_only_what_the_mask_says_decays():
  params = jax.tree.map(jnp.ones_like, Stack())
  gradients = jax.tree.map(jnp.zeros_like, params)
  config = OptimizerConfig(
    peak_learning_rate=0.5, warmup_steps=1, weight_decay=0.25
  )
  after, _ = updated(config, params, gradients)
  chex.assert_trees_all_close(
    after.embed.embedding[...], 0.875 * jnp.ones((5, 3))
  )
  chex.assert_trees_all_equal(after.norm, params.norm)
  chex.assert_trees_all_equal(after.sink, params.sink)


def test_three_steps_of_adamw_by_hand():
  config = OptimizerConfig(
    peak_learning_rate=0.1,
    warmup_steps=1,
    floor=1.0,
    beta1=0.5,
    beta2=0.75,
    epsilon=0.01,
    weight_decay=0.5,
    clip_norm=None,
  )
  after, _ = updated(
    config, {"kernel": jnp.float32(2.0)}, {"kernel": jnp.float32(3.0)}, 3
  )
  value, mean, square = 2.0, 0.0, 0.0
  for n in (1, 2, 3):
    mean, square = 0.5 * mean + 0.5 * 3, 0.75 * square + 0.25 * 9
    direction = (mean / (1 - 0.5**n)) / ((square / (1 - 0.75**n)) ** 0.5 + 0.01)
    value -= 0.1 * (direction + 0.5 * value)
  np.testing.assert_allclose(after["kernel"], value, rtol=1e-6)


def test_the_global_norm_is_clipped_and_small_gradients_are_not():
  # Adam divides the scale away; its square's average keeps it.
  params = {"kernel": jnp.zeros(2), "bias": jnp.zeros(1)}
  big = {"kernel": jnp.array([30.0, 0.0]), "bias": jnp.array([40.0])}
  config = OptimizerConfig(clip_norm=5.0, beta2=0.0, warmup_steps=0)

  def second_moment(gradients):
    _, state = updated(config, params, gradients)
    return optax.tree.get(state, "nu")

  clipped = {"kernel": jnp.array([9.0, 0.0]), "bias": jnp.array([16.0])}
  chex.assert_trees_all_close(second_moment(big), clipped, rtol=1e-5)
  small = jax.tree.map(lambda x: x / 100, big)
  squares = jax.tree.map(jnp.square, small)
  chex.assert_trees_all_close(second_moment(small), squares, rtol=1e-5)


def test_its_state_carries_the_learning_rate_just_used():
  config = OptimizerConfig(peak_learning_rate=1.0, warmup_steps=4)
  params = {"kernel": jnp.ones(3)}
  for count in (1, 2, 3):
    _, state = updated(config, params, params, count)
    assert float(steps.learning_rate(state)["learning_rate"]) == count / 4
