"""Muon's updates of matrices, of stacks and heads, and Adam's of the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attnjax.models import (
  MATRICES,
  DecoderConfig,
  DecoderLM,
  MemoryLM,
  MemoryLMConfig,
)
from attnjax.training.muon import matrix_axes, scale_by_muon_or_adam
from attnjax.training.optimizer import OptimizerConfig, make

RATES = {"momentum": 0.95, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8}
TABLE = (
  (r"query", (-3,), (-2, -1)),
  (r"output", (-3, -2), (-1,)),
  (r"kernel", (-2,), (-1,)),
)


def updated(params, table=TABLE):
  """The update by a gradient that is the parameters themselves."""
  rule = scale_by_muon_or_adam(**RATES, table=table)
  return jax.jit(lambda p: rule.update(p, rule.init(p), p)[0])(params)


def test_singular_values_of_an_update_are_alike_and_of_the_size_of_adam_s(key):
  gradient = jax.random.normal(key, (7, 13)) @ np.diag(
    np.float32(2) ** np.arange(13, dtype=np.float32)
  )
  update = updated({"kernel": gradient})["kernel"]
  values = np.linalg.svd(update, compute_uv=False) / (0.2 * np.sqrt(13))
  assert values.max() < 1.3
  assert values.min() > 0.6  # 2^6 and more apart in the gradient
  assert 0.1 < np.sqrt(np.mean(np.square(update))) < 0.2
  # The same directions: a gradient is followed and not against.
  assert float(jnp.vdot(update, gradient)) > 0


def test_layers_of_a_stack_are_matrices_of_their_own(key):
  stack = jax.random.normal(key, (3, 5, 7))
  whole = updated({"kernel": stack})["kernel"]
  for layer in range(3):
    own = updated({"kernel": stack[layer]})["kernel"]
    np.testing.assert_allclose(whole[layer], own, atol=1e-5)


@pytest.mark.parametrize(
  ("name", "shape", "flat"),
  [("query", (5, 2, 3), (5, 6)), ("output", (2, 3, 5), (6, 5))],
)
def test_heads_and_their_features_are_one_side_of_a_matrix(
  key, name, shape, flat
):
  given = jax.random.normal(key, shape)
  found = updated({name: given})[name]
  expected = updated({"kernel": given.reshape(flat)})["kernel"]
  np.testing.assert_allclose(found.reshape(flat), expected, atol=1e-5)


def test_all_that_is_no_matrix_is_updated_as_by_adamw(key):
  first, second = jax.random.split(key)
  params = {
    "embedding": jax.random.normal(first, (5, 3)),
    "kernel": jax.random.normal(second, (3, 7)),
    "scale": jnp.ones(3),
  }
  steps, found = 20, {}
  for kind in ("adamw", "muon"):
    rule = make(OptimizerConfig(kind=kind, warmup_steps=2), steps)
    state = rule.init(params)
    moved = params
    for _ in range(3):
      changes, state = rule.update(moved, state, moved)
      moved = optax.apply_updates(moved, changes)
    found[kind] = moved
    assert float(state[1].hyperparams["learning_rate"]) > 0
  # The gradients are the parameters, and clipping sees those of all leaves.
  for name in ("embedding", "scale"):
    np.testing.assert_allclose(
      found["muon"][name], found["adamw"][name], rtol=2e-3
    )
  assert abs(found["muon"]["kernel"] - found["adamw"]["kernel"]).max() > 1e-5


@pytest.mark.parametrize(
  "make_model",
  [
    lambda: DecoderLM(
      DecoderConfig(width=8, depth=2, heads=2, hidden=12), 11, rngs=nnx.Rngs(0)
    ),
    lambda: MemoryLM(
      MemoryLMConfig(width=8, heads=2, hidden=12), 11, rngs=nnx.Rngs(0)
    ),
  ],
  ids=["decoder", "memory"],
)
def test_every_map_of_a_block_is_a_matrix_and_no_embedding_is(make_model):
  model = jax.eval_shape(make_model)
  axes = matrix_axes(model, MATRICES)
  leaves = jax.tree_util.tree_leaves_with_path(
    axes, is_leaf=lambda x: hasattr(x, "output_axis")
  )
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator=".")
  paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(model)]
  maps = {name(path).removesuffix(".value") for path in paths}
  # Taps of a convolution along the tokens are a filter for each feature.
  taps = ("mixer.memory.kernel", "mixer.attention.kernel")
  maps = {x for x in maps if "kernel" in x and not x.endswith(taps)}
  assert {name(path) for path, _ in leaves} == maps != set()


def test_what_cannot_be_a_matrix_is_named():
  with pytest.raises(ValueError, match=r"query must have the axes \(-3,\)"):
    updated({"query": jnp.ones((2, 3))})
  with pytest.raises(ValueError, match="no path of a parameter matches"):
    updated({"weights": jnp.ones((2, 3))})
  with pytest.raises(ValueError, match="kind must be"):
    OptimizerConfig(kind="lion")
