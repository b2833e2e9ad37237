"""Published models: a golden, and round trips of tables."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models import (
  DecoderConfig,
  DecoderLM,
  ExpertsConfig,
  LatentConfig,
  RotaryConfig,
  load,
  save,
)
from attnjax.models.published.families import FAMILIES
from attnjax.models.published.layer_keys import shortest_pattern
from attnjax.models.published.read_config import config_of, keys_of
from attnjax.parallel import make_mesh
from tests import drawn
from tests.models.numpy_decoder import logits_of
from tests.models.small_llama import (
  D,
  H,
  K,
  L,
  M,
  V,
  published_tensors,
  write,
)

safetensors = pytest.importorskip("safetensors.numpy")


def test_a_llama_has_the_logits_that_its_names_say(tmp_path):
  tensors = published_tensors()
  model, tokenizer = load(write(tmp_path, tensors))
  stack = lambda name: np.stack(
    [tensors[f"model.layers.{i}.{name}.weight"] for i in range(L)]
  )
  turned = lambda name: np.swapaxes(stack(name), 1, 2)
  heads = lambda name, n: turned(f"self_attn.{name}").reshape(L, M, n, D)
  weights = {
    "embed.embedding": tensors["model.embed_tokens.weight"],
    "norm.scale": tensors["model.norm.weight"],
    "readout.embedding": tensors["lm_head.weight"],
    "blocks.attention_norm.scale": stack("input_layernorm"),
    "blocks.feed_forward_norm.scale": stack("post_attention_layernorm"),
    "blocks.attention.query.kernel": heads("q_proj", H),
    "blocks.attention.key.kernel": heads("k_proj", K),
    "blocks.attention.value.kernel": heads("v_proj", K),
    "blocks.attention.output.kernel": turned("self_attn.o_proj").reshape(
      L, H, D, M
    ),
  } | {
    f"blocks.feed_forward.{name}.kernel": turned(f"mlp.{name}_proj")
    for name in ("gate", "up", "down")
  }
  tokens = np.array([3, 1, 4, 1, 5, 9, 2])
  frequencies = lambda kind, n: ([1.0, 0.1], 1.0)  # 100^(-2i / 4)
  expected = logits_of(model.config, weights, tokens, frequencies)
  got = jax.jit(lambda m, t: m(t))(model, jnp.asarray(tokens))
  np.testing.assert_allclose(got, expected, atol=2e-6 * np.ptp(expected))
  assert tokenizer is None


def test_what_is_saved_is_what_was_loaded(tmp_path):
  tensors = published_tensors()
  model, _ = load(write(tmp_path / "one", tensors))
  assert save(tmp_path / "two", model) == "llama"
  again = safetensors.load_file(tmp_path / "two" / "model.safetensors")
  assert again.keys() == tensors.keys()
  for name in tensors:
    np.testing.assert_array_equal(again[name], tensors[name])
  two, _ = load(tmp_path / "two")
  # What follows from other sizes is written out.
  assert two.config == model.config


def test_a_mesh_gets_its_shards_and_the_same_numbers(tmp_path):
  wide = {name: 8 * size for name, size in (("width", 2), ("hidden", 3))}
  config = DecoderConfig(depth=2, heads=4, activation="swiglu", **wide)
  save(tmp_path, drawn.module(lambda: DecoderLM(config, 16, rngs=nnx.Rngs(0))))
  mesh = make_mesh(data=1, fsdp=4, tensor=2, sequence=1)
  one, many = load(tmp_path)[0], load(tmp_path, mesh=mesh)[0]
  for a, b in zip(*map(jax.tree.leaves, (one, many)), strict=True):
    np.testing.assert_array_equal(a, b)
  up = many.blocks.feed_forward.up.kernel[...]
  assert up.shape == (2, 16, 24)
  assert {s.data.shape for s in up.addressable_shards} == {(2, 4, 12)}


SWIGLU = {"activation": "swiglu", "tied": False}


CONFIGS = {
  "llama": SWIGLU | {"attention_bias": True, "attention_output_bias": True},
  "mistral": SWIGLU | {"window": 6, "kv_heads": 2},
  "qwen2": SWIGLU
  | {
    "attention_bias": True,
    "window": 3,
    "layers": ("full", "full", "window", "window"),
  },
  "qwen3": SWIGLU | {"query_key_norm": "head", "head_width": 10},
  "gemma": {
    "activation": "geglu",
    "norm": "rms_plus_one",
    "embedding_scale": 16.0**0.5,
  },
  "gemma2": {
    "activation": "geglu",
    "norm": "rms_plus_one",
    "order": "sandwich",
    "embedding_scale": 16.0**0.5,
    "scale": 20.0**-0.5,
    "softcap": 50.0,
    "window": 4,
    "layers": ("window", "full"),
  },
  "gemma3_text": {
    "activation": "geglu",
    "norm": "rms_plus_one",
    "order": "sandwich",
    "query_key_norm": "head",
    "embedding_scale": 16.0**0.5,
    "window": 4,
    "layers": ("window", "window", "full"),
    "rotary": RotaryConfig(
      base=1e6, local_base=1e4, scaling="linear", factor=8.0
    ),
  },
  "phi3": SWIGLU
  | {
    "rotary": RotaryConfig(
      scaling="longrope",
      short=(1.0, 2.0),
      long=(1.0, 3.0),
      original_length=64,
      gain=1.25,
    )
  },
  "olmo2": SWIGLU | {"order": "output", "query_key_norm": "heads"},
  "smollm3": SWIGLU
  | {"tied": True, "layers": ("full", "full", "full", "full_unrotated")},
  "mixtral": SWIGLU | {"kv_heads": 2, "experts": ExpertsConfig(count=3)},
  "qwen2_moe": SWIGLU
  | {
    "kv_heads": 2,
    "attention_bias": True,
    "experts": ExpertsConfig(
      count=3, normalized=False, shared=5, shared_gate=True, dense=(0, 2)
    ),
  },
  "qwen3_moe": SWIGLU
  | {
    "window": 6,
    "query_key_norm": "head",
    "experts": ExpertsConfig(count=3, active=1),
  },
  "deepseek_v2": SWIGLU
  | {
    "head_width": 10,
    "rotary": RotaryConfig(features=4, interleaved=True),
    "latent": LatentConfig(width=7, query_width=5, value_width=3),
    "experts": ExpertsConfig(
      count=3, normalized=False, shared=24, dense=(0,), dense_hidden=9
    ),
  },
  "gpt_oss": {
    "activation": "clipped_swiglu",
    "tied": False,
    "kv_heads": 2,
    "use_bias": True,
    "sinks": True,
    "window": 4,
    "layers": ("window", "full"),
    "experts": ExpertsConfig(count=3),
    "rotary": RotaryConfig(scaling="yarn", factor=4.0, whole=False),
  },
  "gpt2": {
    "norm": "layer",
    "use_bias": True,
    "positions": "learned",
    "max_length": 64,
  },
  "bert": {"token_kinds": 3},
  "roberta": {"position_offset": 2},
  "modernbert": {
    "activation": "geglu_erf",
    "order": "pre",
    "use_bias": False,
    "positions": "rotary",
    "token_kinds": 0,
    "first_norm": False,
    "window": 3,
    "layers": ("full", "window", "window"),
    "rotary": RotaryConfig(local_base=100.0),
  },
  "distilbert": {"token_kinds": 0, "activation": "relu"},
  "gpt_neox": {
    "norm": "layer",
    "use_bias": True,
    "order": "parallel",
    "activation": "gelu_erf",
    "rotary": RotaryConfig(features=2),
  },
}


@pytest.mark.parametrize(
  "family",
  [x for x, family in FAMILIES.items() if hasattr(family.config, "kinds")],
)
def test_a_family_is_written_and_read_as_the_same(family, tmp_path):
  sizes = {"width": 16, "depth": 4, "heads": 4, "hidden": 12}
  config = FAMILIES[family].config(**(sizes | CONFIGS[family]))
  # The first family that can say it may be another: Mistral without a window
  # is a Llama.
  name, keys = keys_of(config, V)
  assert config_of(keys)[0] == name
  _, keys = keys_of(config, V, family)
  _, again, vocabulary = config_of(json.loads(json.dumps(keys)))
  assert (again.kinds, again.window) == (config.kinds, config.window)
  assert vocabulary == V

  make = lambda: FAMILIES[family].model(config, V, rngs=nnx.Rngs(0))
  model = drawn.module(make)
  if family == "modernbert":  # no norm before the first attention, in no file
    scale = model.blocks.attention_norm.scale
    scale[...] = scale[...].at[0].set(1.0)
  save(tmp_path, model, family=family)
  loaded, _ = load(tmp_path)
  for a, b in zip(*map(jax.tree.leaves, (model, loaded)), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_first_layer_that_is_the_only_one(tmp_path):
  # Its norm is in no file; a scaling begins where training ended.
  scaled = RotaryConfig(
    local_base=100.0, scaling="dynamic", factor=2.0, original_length=32
  )
  odd = {"rotary": scaled, "max_length": 32, "layers": ("full",)}
  sizes = {"width": 16, "depth": 1, "heads": 4, "hidden": 12}
  options = CONFIGS["modernbert"] | odd | {"window": None}
  config = FAMILIES["modernbert"].config(**(sizes | options))
  make = lambda: FAMILIES["modernbert"].model(config, V, rngs=nnx.Rngs(0))
  model = drawn.module(make)
  model.blocks.attention_norm.scale[...] = jnp.ones((1, 16))
  save(tmp_path, model, family="modernbert")
  loaded, _ = load(tmp_path)
  assert loaded.config.rotary.encoding() == scaled.encoding()
  for a, b in zip(*map(jax.tree.leaves, (model, loaded)), strict=True):
    np.testing.assert_array_equal(a, b)


def test_patterns_are_the_shortest():
  assert shortest_pattern(tuple("aabaabaa")) == ("a", "a", "b")
  assert shortest_pattern(tuple("abc")) == tuple("abc")
