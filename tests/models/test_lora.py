"""Adapters: they start as the model, add low-rank updates, train alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from numpy.testing import assert_allclose, assert_array_equal

from attnjax.models import (
  ExpertsConfig,
  LatentConfig,
  LoraConfig,
  init_lora,
  merge_lora,
)
from attnjax.models.decoder_config import RotaryConfig
from attnjax.models.leaf_paths import leaves_by_path

TOKENS = jnp.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]], jnp.int32)
ALL = ("query", "key", "value", "output", "gate", "up", "down")
# Each way in which a kernel has its axes: grouped heads, experts, latents.
MODELS = {
  "gated": ({"activation": "swiglu"}, ALL),
  "experts": (
    {
      "activation": "swiglu",
      "experts": ExpertsConfig(count=3, active=2, dense=(1,), dense_hidden=5),
    },
    (*ALL, "router"),
  ),
  "latents": (
    {
      "kv_heads": None,
      "latent": LatentConfig(width=5, query_width=3, value_width=4),
      "rotary": RotaryConfig(features=2),
    },
    ("query_latent", "latent", "rotary_key", "query", "key", "value", "output"),
  ),
}


def drawn(adapters):
  """The same shapes without zeros."""
  leaves, tree = jax.tree.flatten(adapters)
  rng = np.random.default_rng(0)
  new = [np.float32(rng.normal(size=x.shape)) for x in leaves]
  return jax.tree.unflatten(tree, new)


@pytest.mark.parametrize(
  "name",
  [
    "gated",
    pytest.param("experts", marks=pytest.mark.slow),
    pytest.param("latents", marks=pytest.mark.slow),
  ],
)
def test_they_start_as_the_model_and_add_what_numpy_adds(name):
  options, targets = MODELS[name]
  model = small.decoder(**options)
  config = LoraConfig(rank=1 if name == "experts" else 2, targets=targets)
  adapters = init_lora(model, config, seed=3)
  assert {path.split(".")[-1] for path in adapters.factors} == {*targets}
  before = leaves_by_path(model)
  merge = jax.jit(merge_lora)
  for path, leaf in leaves_by_path(merge(model, adapters)).items():
    assert_array_equal(leaf, before[path])

  other = drawn(adapters)
  for path, leaf in leaves_by_path(merge(model, other)).items():
    expected = np.float64(before[path])
    factor = other.factors.get(path.removesuffix(".kernel"))
    if factor is not None:
      a, b = (np.float64(factor[k]) for k in ("a_kernel", "b_kernel"))
      lead = a.ndim + b.ndim - expected.ndim - 2
      rank = a.shape[-1]
      # One layer and expert after another, whatever their axes are.
      for place in np.ndindex(a.shape[:lead]):
        update = np.tensordot(a[place], b[place], axes=1)
        expected[place] += 16 / rank * update
    assert_allclose(leaf, expected, rtol=1e-5, atol=1e-5)


def test_a_has_the_variance_of_its_fan_in():
  kernel = lambda *shape: {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32)}
  model = {
    "attention": {"query": kernel(400, 6, 5), "output": kernel(6, 50, 400)}
  }
  adapters = init_lora(model, LoraConfig(rank=4, targets=("query", "output")))
  for path, fan_in in (("query", 400), ("output", 300)):
    factors = adapters.factors[f"attention.{path}"]
    assert_allclose(factors["a_kernel"].std() * fan_in**0.5, 1, atol=0.1)
    assert not factors["b_kernel"].any()


def test_gradients_reach_both_factors_and_no_others():
  model = small.decoder()
  adapters = drawn(init_lora(model, LoraConfig(rank=2)))
  loss = lambda adapters: merge_lora(model, adapters)(TOKENS).std()
  for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(adapters)):
    # Of every layer.
    assert all(np.abs(row).max() > 0 for row in leaf)
  assert len(jax.tree.leaves(adapters)) == 4


def test_a_merge_keeps_the_dtype_of_the_model():
  model = jax.tree.map(jnp.bfloat16, small.decoder())
  adapters = drawn(init_lora(model, LoraConfig(rank=2)))
  for leaf in jax.tree.leaves(merge_lora(model, adapters)):
    assert leaf.dtype == jnp.bfloat16


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"rank": 2, "targets": ("qury",)}, r"'qury'. Did you mean query\?"),
    ({"rank": 2, "targets": ("xxxxx",)}, r"'xxxxx'. There are: key, "),
    ({"rank": 0}, "rank must be at least 1, got 0"),
    ({"rank": -1}, "rank must be at least 0, got -1"),
    ({"rank": 11}, r"at most 10, .*attention.query \(10 by 24\), got 11"),
    ({"alpha": 0.0}, "alpha must be above 0"),
    ({"targets": ()}, "targets must name a projection"),
  ],
)
def test_bad_configs_say_so(options, words):
  with pytest.raises(ValueError, match=words):
    init_lora(small.decoder(), LoraConfig(**options))


def test_adapters_of_another_model_are_refused():
  adapters = init_lora(small.decoder(), LoraConfig(rank=2, targets=("up",)))
  with pytest.raises(ValueError, match=r"feed_forward.up must have factors of"):
    merge_lora(small.decoder(width=20), adapters)
  with pytest.raises(ValueError, match=r"must be a projection of the model"):
    merge_lora({"kernel": jnp.ones(3)}, adapters)
