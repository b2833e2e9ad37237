"""What of a model cannot be trained is named, wherever the model enters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnjax.models import DecoderConfig, DecoderLM
from attnjax.runs import MeshConfig, TrainConfig, fit
from attnjax.training import init_state, make_step
from attnjax.training.checkpoint import CheckpointConfig, Checkpoints
from attnjax.training.optimizer import OptimizerConfig
from attnjax.training.state import TrainState, check_trainable, init_on

SHARED = jnp.ones((2, 8))


def decoder(change=None):
  """A model as a pytree, with something changed in it."""
  config = DecoderConfig(width=4, depth=1, heads=1, hidden=4)
  model = jax.jit(lambda: DecoderLM(config, 5, rngs=nnx.Rngs(0)))()
  if change:
    change(model)
  return model


def counts(model):
  model.norm.scale = nnx.Param(jnp.arange(4))


def tied(model):
  model.readout = nnx.data(model.embed)


MODELS = {
  "integers": (
    {"kernel": jnp.ones((2, 8)), "count": jnp.arange(3)},
    r"leaf \['count'\] must be real floats, got int32; .*a static field",
  ),
  "a number": (
    {"kernel": jnp.ones((2, 8)), "count": 3},
    r"leaf \['count'\] must be real floats, got int32",
  ),
  "booleans": (
    {"kernel": jnp.ones((2, 8)), "a": [np.array([True])]},
    r"leaf \['a'\]\[0\] must be real floats, got bool",
  ),
  "a key": (
    {"kernel": jnp.ones((2, 8)), "a": jax.random.key(0)},
    r"leaf \['a'\] must be real floats, got key<fry>",
  ),
  "complex": (
    {"kernel": jnp.ones((2, 8), jnp.complex64)},
    r"leaf \['kernel'\] must be real floats, got complex64; .*lax.complex",
  ),
  "words": (
    {"kernel": jnp.ones((2, 8)), "a": "name"},
    r"leaf \['a'\] must be an array of real floats, got a str",
  ),
  "one array twice": (
    {"kernel": SHARED, "other": {"kernel": SHARED}},
    r"leaf \['other'\]\['kernel'\] must be an array of its own, got the one at"
    r" leaf \['kernel'\]; tie weights by .*jnp.array\(x\)",
  ),
  "one memory twice": (
    {"kernel": SHARED, "other": jax.device_put(SHARED, jax.devices()[0])},
    r"leaf \['other'\] must be an array of its own",
  ),
  "a module of counts": (decoder(counts), r"leaf .*norm.*scale.* got int32"),
  "a module tied": (decoder(tied), r"leaf .*readout.* got the one at .*embed"),
}


def loss(params, batch, key):
  leaves = jax.tree.leaves(params)
  return sum(jnp.abs(x).sum() for x in leaves) * batch, jnp.float32(1)


@pytest.mark.parametrize("name", MODELS)
def test_a_leaf_that_cannot_be_trained_is_named(name, tmp_path):
  model, words = MODELS[name]
  for enter in (
    check_trainable,
    lambda model: init_state(model, optax.adam(1e-3)),
    lambda model: init_on(MeshConfig(fsdp=8).make(), model, optax.sgd(0.1)),
  ):
    with pytest.raises(ValueError, match=words):
      enter(model)
  workdir = tmp_path / "run"
  with pytest.raises(ValueError, match=words):
    fit(
      model,
      loss,
      lambda step: jnp.float32(1),
      workdir=workdir,
      experiment="none",
      identity={},
      optimizer=OptimizerConfig(warmup_steps=0),
      train=TrainConfig(steps=2),
    )
  assert not workdir.exists()


@pytest.mark.parametrize("name", ["integers", "complex"])
def test_a_step_of_a_state_made_by_hand_names_the_leaf(name):
  model, words = MODELS[name]
  step = jax.jit(make_step(loss, optax.sgd(0.1)))
  with pytest.raises(ValueError, match=words):
    step(TrainState(jnp.int32(0), model, ()), jnp.float32(1))


def test_what_can_be_trained_is_let_pass():
  mesh = Mesh(np.array(jax.devices()), ("x",))
  spread = NamedSharding(mesh, PartitionSpec())
  copies = {
    "whole": jax.device_put(SHARED, spread),
    "copy": jnp.array(SHARED),
    "host": np.ones(2, np.float32),
    "same host": np.ones(2, np.float32),
    "number": 0.5,
    "few bits": jnp.ones(2, jnp.bfloat16),
    "empty": [jnp.zeros((0, 3)), jnp.zeros((0, 3))],
  }
  check_trainable(copies)
  jax.eval_shape(lambda x: init_state({"a": x, "b": x}, optax.sgd(0.1)), SHARED)
  check_trainable(jax.eval_shape(lambda: copies))
  with pytest.raises(ValueError, match=r"leaf \['b'\] must be an array of its"):
    check_trainable({"a": copies["whole"], "b": copies["whole"]})


def test_a_checkpoint_holds_whatever_arrays_a_state_has(tmp_path):
  state = {
    "complex": jnp.array([1 + 2j, 3 - 4j]),
    "count": jnp.arange(3),
    "one": SHARED,
    "the same": SHARED,
  }
  with Checkpoints(tmp_path, CheckpointConfig()) as checkpoints:
    checkpoints.save(1, state)
    restored = checkpoints.restore(jax.tree.map(jnp.zeros_like, state))
  for name, value in state.items():
    np.testing.assert_array_equal(restored.state[name], value)
