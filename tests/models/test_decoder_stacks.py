"""Decoders with latents and with layers without experts, which are a stack."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models import (
  DecoderConfig,
  DecoderLM,
  Encoder,
  EncoderConfig,
  ExpertsConfig,
  LatentConfig,
  RotaryConfig,
  decoder_parameters,
  partition_rules,
  total,
)
from attnjax.models.decoder_layers import scan_layers
from attnjax.training.partition import shardings
from tests import drawn

V, T = 13, 7
SIZES = {"width": 12, "heads": 2, "hidden": 10, "activation": "swiglu"}
LATENT = {
  "head_width": 7,
  "rotary": RotaryConfig(features=4, interleaved=True),
  "latent": LatentConfig(width=5, query_width=3, value_width=6),
}
DEEPSEEK = LATENT | {
  "depth": 3,
  "use_bias": True,
  "experts": ExpertsConfig(
    count=3, active=2, normalized=False, shared=4, dense=(0,), dense_hidden=9
  ),
}
BY_TURNS = {
  "depth": 5,
  "window": 2,
  "layers": ("window", "full"),
  "experts": ExpertsConfig(count=3, dense=(0, 2, 3), dense_hidden=9),
}
BOTH = pytest.mark.parametrize(
  "options", [DEEPSEEK, BY_TURNS], ids=["first", "by turns"]
)


def decoder(options):
  config = DecoderConfig(**(SIZES | options))
  return drawn.module(lambda: DecoderLM(config, V, rngs=nnx.Rngs(0)))


@BOTH
def test_the_count_of_parameters_is_theirs(options):
  model = decoder(options)
  expected = sum(leaf.size for leaf in jax.tree.leaves(model))
  assert total(decoder_parameters(model.config, V)) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
  "options", [DEEPSEEK, BY_TURNS], ids=["first", "by turns"]
)
def test_layers_of_two_stacks_run_in_their_order(options):
  model, config = decoder(options), DecoderConfig(**(SIZES | options))
  tokens = jnp.array(np.random.default_rng(0).integers(0, V, (2, T)))

  @jax.jit
  def one_by_one(model, tokens):
    x, seen = model.embed(tokens), {"blocks": 0, "dense_blocks": 0}
    for layer, kind in enumerate(config.kinds):
      stack = "dense_blocks" if layer in config.experts.dense else "blocks"
      pick = lambda leaf, i=seen[stack]: leaf[i]
      block = jax.tree.map(pick, getattr(model, stack))
      x = block(x, mask=model._mask(kind))
      seen[stack] += 1
    return model.embed.logits(model.norm(x))

  expected = one_by_one(model, tokens)
  run = jax.jit(lambda model, tokens: model(tokens))
  got = run(model, tokens)
  np.testing.assert_allclose(got, expected, atol=1e-5 * np.ptp(expected))

  # In pieces over a cache too, and with layers apart.
  apart = run(model.with_layers_apart(), tokens)
  np.testing.assert_allclose(apart, got, atol=1e-5 * np.ptp(expected))
  cache, parts = model.init_cache((2,), T), []
  step = jax.jit(lambda model, tokens, cache: model.decode(tokens, cache))
  for piece in (tokens[:, :5], tokens[:, 5:6], tokens[:, 6:]):
    logits, cache = step(model, piece, cache)
    parts.append(logits)
  together = jnp.concatenate(parts, 1)
  np.testing.assert_allclose(together, got, atol=1e-5 * np.ptp(expected))


def test_no_logit_depends_on_a_later_token():
  model = decoder(DEEPSEEK)

  def of_embedded(x):
    def layer(kind, x, parts):
      return parts[0](x, mask=model._mask(kind)), None

    return model._read_out(model._scan(layer, x)[0])

  # Row by row: `ragged_dot` has no rule for `vmap`.
  @jax.jit
  def slopes(x):
    out, pull = jax.vjp(of_embedded, x)
    rows = jnp.eye(T)[:, :, None] * jnp.arange(1.0, V + 1)[None, None]
    return jax.lax.map(lambda row: pull(row)[0], rows.astype(out.dtype))

  x = jnp.asarray(np.random.default_rng(0).normal(size=(T, 12)), jnp.float32)
  size = np.abs(slopes(x)).max(axis=2)
  assert (size[np.triu_indices(T, 1)] == 0).all()
  assert (size[np.tril_indices(T)] > 0).all()


def test_a_period_takes_from_each_stack_in_turn():
  stacked = {
    "a": jnp.arange(6.0),
    "b": 10 * jnp.arange(3.0),
    "all": jnp.ones(9),
  }
  step = lambda kind, x, parts: (
    10 * x + parts["all"],
    parts["a"] if "a" in parts else parts["b"],
  )
  _, order = scan_layers(
    step,
    0.0,
    stacked,
    ("k",) * 9,
    stacks=(("a", "all"), ("b", "all"), ("a", "all")) * 3,
  )
  assert order.tolist() == [0, 0, 1, 2, 10, 3, 4, 20, 5]


def test_every_matrix_of_latents_has_a_rule():
  even = {"latent": LatentConfig(width=6, query_width=2, value_width=6)}
  mixture = {"experts": ExpertsConfig(count=3, dense=(0,), dense_hidden=8)}
  config = DecoderConfig(**(SIZES | DEEPSEEK | even | mixture))
  make = lambda: DecoderLM(config, V, rngs=nnx.Rngs(0))
  shapes = jax.eval_shape(make)
  mesh = jax.make_mesh(
    (2, 2),
    ("fsdp", "tensor"),
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
    devices=jax.devices()[:4],
  )
  placed = shardings(shapes, mesh, partition_rules(shapes))
  latent = placed.blocks.attention.latent.kernel
  assert "fsdp" in str(jax.tree.leaves(latent)[0].spec)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    (LATENT | {"head_width": None}, r"both head_width and rotary.features"),
    (LATENT | {"head_width": 4}, r"the second the smaller, got 4 and 4"),
    (LATENT | {"kv_heads": 1}, r"kv_heads must be heads=2.*kv_heads=1"),
    (LATENT | {"sinks": True}, r"no sinks and no query_key_norm, got True"),
    (LATENT | {"attention_bias": True}, r"attention_bias that of the output"),
  ],
)
def test_what_latents_have_not_is_refused(options, words):
  with pytest.raises(ValueError, match=words):
    DecoderConfig(**(SIZES | options))


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"dense": (0,)}, r"of a model with experts, got \(0,\) and .*count=0"),
    ({"count": 2, "dense": (1, 0)}, r"in order, each once"),
    ({"count": 2, "dense": (0, 4)}, r"must be below depth=4"),
    ({"count": 2, "dense": (0, 1, 2, 3)}, r"leave a layer with experts"),
  ],
)
def test_layers_without_experts_are_checked(options, words):
  with pytest.raises(ValueError, match=words):
    DecoderConfig(experts=ExpertsConfig(**options), **SIZES)


def test_an_encoder_has_one_stack():
  config = EncoderConfig(**SIZES, experts=ExpertsConfig(count=2, dense=(0,)))
  with pytest.raises(ValueError, match=r"Encoder: experts.dense must be empty"):
    Encoder(config, V, rngs=nnx.Rngs(0))
