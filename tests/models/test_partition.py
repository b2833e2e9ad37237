"""Partition rules: every large leaf is sharded, with the same numbers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models import (
  EncoderDecoder,
  EncoderDecoderConfig,
  ViT,
  ViTConfig,
  load,
  partition_rules,
  save,
)
from attnjax.models.leaf_paths import leaves_by_path
from attnjax.parallel import make_mesh
from attnjax.training.partition import shard_tree
from tests import drawn
from tests.few import few

V, CLASSES, FSDP, TENSOR = 26, 7, 4, 2
SIZES = {"width": 16, "heads": 4, "hidden": 24}
T5 = {
  "encoder_depth": 2,
  "decoder_depth": 3,
  "activation": "geglu",
  "positions": "relative",
  "shared": True,
  "tied": False,
  "scale": 1.0,
}
VASWANI = {"encoder_depth": 1, "decoder_depth": 1, "positions": "learned"}
VISION = {
  "depth": 2,
  "height": 12,
  "breadth": 8,
  "patch": 4,
  "channels": 3,
  "token_position": True,
}


def seq2seq(options):
  config = EncoderDecoderConfig(**(SIZES | options), dropout=0.0)
  return EncoderDecoder(config, V, rngs=nnx.Rngs(0))


def vision(options):
  return ViT(ViTConfig(**(SIZES | options)), CLASSES, rngs=nnx.Rngs(0))


def numbers_of(model):
  """Logits of a few drawn tokens or images."""
  rng = np.random.default_rng(0)
  if isinstance(model, ViT):
    x = jnp.asarray(rng.normal(size=(2, 12, 8, 3)), jnp.float32)
    return jax.jit(lambda model, x: model(x))(model, x)
  source, target = jnp.asarray(rng.integers(0, V, (2, 2, 5)), jnp.int32)
  forward = jax.jit(lambda model, *of: model(*of))
  return forward(model, source, target)


GATED = VISION | {"activation": "swiglu", "layer_scale": 0.5}
MODELS = {
  "T5": lambda: seq2seq(T5),
  "Vaswani": lambda: seq2seq(VASWANI),
  "ViT": lambda: vision(VISION),
  "gated ViT": lambda: vision(GATED),
}


@pytest.mark.parametrize("name", few(MODELS, "ViT"))
def test_large_leaves_are_sharded_and_numbers_the_same(name):
  model = drawn.module(MODELS[name])
  mesh = make_mesh(data=1, fsdp=FSDP, tensor=TENSOR, sequence=1)
  sharded = shard_tree(model, mesh, partition_rules(model))
  for path, leaf in leaves_by_path(sharded).items():
    parts = leaf.size // math.prod(leaf.addressable_shards[0].data.shape)
    # Vectors of the width, and of heads or features, may be whole.
    small = (".scale", ".bias", "_scale", "token", "_bias.embedding")
    if path.endswith(small):
      continue
    # Over both axes, or over one where the other has nothing to divide.
    one = ("positions", "_places.embedding", "embed.kernel", "readout.kernel")
    expected = FSDP if path.endswith(one) else FSDP * TENSOR
    assert parts == expected, path

  expected = np.asarray(numbers_of(model))
  np.testing.assert_allclose(
    numbers_of(sharded), expected, atol=1e-5 * np.ptp(expected)
  )


@pytest.mark.parametrize(
  ("make", "options"),
  [(seq2seq, T5), (vision, VISION | {"activation": "gelu_erf"})],
)
def test_a_published_one_is_sharded_from_the_start(make, options, tmp_path):
  save(tmp_path, drawn.module(lambda: make(options)))
  mesh = make_mesh(data=1, fsdp=FSDP, tensor=TENSOR, sequence=1)
  one, many = load(tmp_path)[0], load(tmp_path, mesh=mesh)[0]
  for a, b in zip(*map(jax.tree.leaves, (one, many)), strict=True):
    np.testing.assert_array_equal(a, b)
  blocks = many.decoder if isinstance(many, EncoderDecoder) else many.blocks
  up = blocks.feed_forward.up.kernel[...]
  assert up.addressable_shards[0].data.shape[1:] == (16 // FSDP, 24 // TENSOR)
