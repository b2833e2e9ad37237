"""Published models: a golden, round trips of tables, and what is refused."""

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
  ImageProcessor,
  LatentConfig,
  PublishedTokenizer,
  RotaryConfig,
  load,
  save,
)
from attnjax.models.published.families import FAMILIES
from attnjax.models.published.layer_keys import shortest_pattern
from attnjax.models.published.mxfp4 import Mxfp4Weights
from attnjax.models.published.read_config import config_of, keys_of
from attnjax.models.published.weights import open_weights
from attnjax.parallel import make_mesh
from tests import drawn
from tests.models.numpy_decoder import logits_of

safetensors = pytest.importorskip("safetensors.numpy")

V, M, L, H, K, D, F = 11, 6, 2, 2, 1, 4, 5
LLAMA = {
  "model_type": "llama",
  "architectures": ["LlamaForCausalLM"],
  "vocab_size": V,
  "hidden_size": M,
  "num_hidden_layers": L,
  "num_attention_heads": H,
  "num_key_value_heads": K,
  "head_dim": D,
  "intermediate_size": F,
  "rms_norm_eps": 1e-5,
  "rope_theta": 100.0,
  "max_position_embeddings": 32,
  "tie_word_embeddings": False,
  "torch_dtype": "float32",
}


def published_tensors():
  """Tensors of a Llama under their published names: ``[out, in]``."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.normal(0, 0.4, shape).astype(np.float32)
  tensors = {
    "model.embed_tokens.weight": draw(V, M),
    "model.norm.weight": draw(M),
    "lm_head.weight": draw(V, M),
  }
  for i in range(L):
    block = f"model.layers.{i}"
    tensors |= {
      f"{block}.input_layernorm.weight": draw(M),
      f"{block}.post_attention_layernorm.weight": draw(M),
      f"{block}.self_attn.q_proj.weight": draw(H * D, M),
      f"{block}.self_attn.k_proj.weight": draw(K * D, M),
      f"{block}.self_attn.v_proj.weight": draw(K * D, M),
      f"{block}.self_attn.o_proj.weight": draw(M, H * D),
      f"{block}.mlp.gate_proj.weight": draw(F, M),
      f"{block}.mlp.up_proj.weight": draw(F, M),
      f"{block}.mlp.down_proj.weight": draw(M, F),
    }
  return tensors


def write(folder, tensors, config=LLAMA, **changes):
  """A published directory."""
  folder.mkdir(exist_ok=True)
  safetensors.save_file(tensors, folder / "model.safetensors")
  (folder / "config.json").write_text(json.dumps(config | changes))
  return folder


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


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"model_type": "lama"}, r"model_type='lama' is no family.*nearest is 'll"),
    (
      {"model_type": "x", "architectures": ["Qwen2ForCausal"]},
      r"no family.*nearest is 'qwen2'",
    ),
    ({"clip_qkv": 8.0}, r"clip_qkv=8.0 is no option that is honoured for llam"),
    ({"hidden_act": "tanh"}, r"hidden_act must be one of .*got 'tanh'"),
    (
      {"rope_scaling": {"rope_type": "ntk", "factor": 2.0}},
      r"rope_type must be default or one of .*dynamic.*got 'ntk'",
    ),
    (
      {"rope_scaling": {"type": "linear", "factor": 2.0, "mscale": 3.0}},
      r"rope_parameters has .*'mscale': 3.0.*which linear does not honour",
    ),
    (
      {"rope_scaling": {"type": "linear"}},
      r"rope_parameters must have 'factor",
    ),
    ({"num_attention_heads": None}, r"num_attention_heads must be given"),
    ({"num_attention_heads": 3, "num_key_value_heads": 2}, r"must divide"),
    (
      {"intermediate_size": F + 1},
      r"gate_proj.weight must have shape \[6, 6\]",
    ),
    ({"tie_word_embeddings": True}, r"lm_head.weight must equal model.embed"),
    ({"num_hidden_layers": L + 1}, r"weights must have model.layers.2"),
    ({"num_hidden_layers": L - 1}, r"weights have model.layers.1.*no part"),
  ],
)
def test_what_is_not_honoured_is_refused_by_name(tmp_path, changes, words):
  folder = write(tmp_path, published_tensors(), **changes)
  with pytest.raises(ValueError, match=words):
    load(folder)


def test_a_key_that_changes_nothing_may_be_ignored(tmp_path):
  folder = write(tmp_path, published_tensors(), clip_qkv=8.0)
  load(folder, ignore=("clip_qkv",))


# Keys beside the sizes, as published config.json files have them.
PUBLISHED = {
  "SmolLM2": {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "hidden_act": "silu",
    "is_llama_config": True,
    "mlp_bias": False,
    "pretraining_tp": 1,
    "rope_interleaved": False,
    "rope_scaling": None,
    "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}},
  },
  "Llama 3.1": {
    "eos_token_id": [128001, 128008],
    "rope_scaling": {
      "factor": 8.0,
      "low_freq_factor": 1.0,
      "high_freq_factor": 4.0,
      "original_max_position_embeddings": 8192,
      "rope_type": "llama3",
    },
  },
  "old dump": {"pruned_heads": {}, "num_beams": 1, "torchscript": False},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_of_published_files_are_read(name):
  _, config, _ = config_of(LLAMA | PUBLISHED[name])
  assert config.rotary.scaling == ("llama3" if "3.1" in name else "none")


@pytest.mark.parametrize(
  "changes",
  [
    {"rope_interleaved": True},
    {"pruned_heads": {"0": [1]}},
    {"quantization_config": {"bits": 4}},
  ],
)
def test_keys_that_change_numbers_are_refused(changes):
  with pytest.raises(ValueError, match=next(iter(changes))):
    config_of(LLAMA | changes)


def test_numbers_of_four_bits_are_read_exactly(tmp_path):
  rng = np.random.default_rng(0)
  blocks = rng.integers(0, 256, (2, 3, 2, 16)).astype(np.uint8)
  scales = rng.integers(100, 140, (2, 3, 2)).astype(np.uint8)
  values = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
  expected = np.zeros((2, 64, 3))
  for e, row, block, byte in np.ndindex(blocks.shape):
    power = 2.0 ** (float(scales[e, row, block]) - 127)
    for place, nibble in enumerate(
      (blocks[e, row, block, byte] & 15, blocks[e, row, block, byte] >> 4)
    ):
      sign = -1 if nibble >= 8 else 1
      number = sign * values[nibble % 8] * power
      expected[e, 32 * block + 2 * byte + place, row] = number

  parts = {"w_blocks": blocks, "w_scales": scales, "x": scales}
  safetensors.save_file(parts, tmp_path / "model.safetensors")
  with open_weights(tmp_path) as weights:
    packed = Mxfp4Weights(weights)
    assert packed.names() == {"w", "x"}
    assert packed.shape("w") == (2, 64, 3)
    assert packed.shape("x") == (2, 3, 2)
    np.testing.assert_array_equal(packed.get("w"), expected)
    np.testing.assert_array_equal(packed.get("x"), scales)


def test_files_that_are_not_whole_are_refused(tmp_path):
  folder = write(tmp_path, published_tensors())
  file = folder / "model.safetensors"
  file.write_bytes(file.read_bytes()[:-3])
  with pytest.raises(ValueError, match=r"is no whole safetensors file.*again"):
    load(folder)

  file.rename(folder / "pytorch_model.bin")
  with pytest.raises(ValueError, match=r"pickle, pytorch_model.bin.*convert"):
    load(folder)
  (folder / "pytorch_model.bin").unlink()
  with pytest.raises(ValueError, match=r"must have model.safetensors or"):
    load(folder)

  (folder / "config.json").write_text("{")
  with pytest.raises(ValueError, match=r"config.json cannot be read as JSON"):
    load(folder)


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"hidden_size": [6]}, r"config.json: .*\[6\]"),
    ({"head_dim": "4"}, "config.json: .*'head_dim': '4'"),
    ({"num_attention_heads": 0}, "config.json: .*must be at least 1, got 0"),
    ({"vocab_size": 11.5}, "config.json: .*'vocab_size': 11.5"),
    ({"vocab_size": "11"}, "config.json: .*'vocab_size': '11'"),
    ({"hidden_act": ["silu"]}, "config.json: .*'hidden_act'"),
    ({"rope_theta": "much"}, "config.json: .*'rope_theta': 'much'"),
    ({"rope_parameters": [1]}, "config.json: .*'rope_parameters'"),
    ({"rope_scaling": 2}, "config.json: .*'rope_scaling': 2"),
    ({"quantization_config": "gptq"}, "quantization_config='gptq' is no"),
  ],
)
def test_values_of_another_kind_are_named(changes, words):
  with pytest.raises(ValueError, match=words):
    config_of(LLAMA | changes)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"revision": "a" * 40}, "revision=.* is a commit of the hub, and"),
    (
      {"mesh": jax.make_mesh((8,), ("tensor",))},
      r"mesh must have the axes .*lacks \['data', 'fsdp', 'sequence'\]",
    ),
    ({"dtype": "int8"}, "dtype must be a floating one"),
  ],
)
def test_options_that_mean_nothing_are_refused(tmp_path, options, words):
  write(tmp_path, published_tensors())
  with pytest.raises(ValueError, match=words):
    load(tmp_path, **options)


def test_codes_of_a_quantisation_are_no_numbers(tmp_path):
  name = "model.layers.0.mlp.up_proj.weight"
  write(tmp_path, published_tensors() | {name: np.ones((F, M), np.uint8)})
  with pytest.raises(ValueError, match=r"up_proj.weight must have a floating"):
    load(tmp_path)
  write(tmp_path, published_tensors(), quantization_config="gptq")
  with pytest.raises(ValueError, match="quantization_config='gptq' is no"):
    load(tmp_path)


@pytest.mark.parametrize(
  "index", ["{", "[1]", "{}", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}']
)
def test_an_index_that_is_none_is_refused(tmp_path, index):
  write(tmp_path, published_tensors())
  (tmp_path / "model.safetensors").unlink()
  (tmp_path / "model.safetensors.index.json").write_text(index)
  with pytest.raises(ValueError, match=r"index\.json"):
    load(tmp_path)


def test_a_tensor_of_two_shards_is_refused(tmp_path):
  tensors = published_tensors()
  write(tmp_path, tensors)
  (tmp_path / "model.safetensors").rename(tmp_path / "one.safetensors")
  other = {"model.norm.weight": tensors["model.norm.weight"] + 1}
  safetensors.save_file(other, tmp_path / "two.safetensors")
  places = dict.fromkeys(tensors, "one.safetensors")
  places["model.norm.weight"] = "two.safetensors"
  text = json.dumps({"weight_map": places})
  (tmp_path / "model.safetensors.index.json").write_text(text)
  with pytest.raises(ValueError, match=r"norm.weight, which another shard has"):
    load(tmp_path)


def test_an_index_that_its_shards_belie_is_refused(tmp_path):
  tensors = published_tensors()
  folder = write(tmp_path, tensors)
  (folder / "model.safetensors").rename(folder / "a.safetensors")
  index = {"weight_map": dict.fromkeys(tensors, "a.safetensors")}
  path = folder / "model.safetensors.index.json"
  path.write_text(json.dumps(index))
  model, _ = load(folder)
  assert model.vocabulary == V
  index["weight_map"]["model.more.weight"] = "a.safetensors"
  path.write_text(json.dumps(index))
  with pytest.raises(ValueError, match=r"lacks model.more.weight"):
    load(folder)


@pytest.mark.parametrize(
  ("path", "revision", "words"),
  [
    ("no/such/folder", None, "must be a directory, or owner/name"),
    ("owner/name", None, "give its revision=, a commit"),
    ("owner/name", "main", "a branch moves"),
  ],
)
def test_a_hub_name_is_pinned(path, revision, words):
  with pytest.raises(ValueError, match=words):
    load(path, revision=revision)


def test_what_no_family_says_is_named(tmp_path):
  config = DecoderConfig(width=8, depth=1, heads=2, activation="swiglu")
  odd = DecoderConfig(**(vars(config) | {"sinks": True, "softcap": 5.0}))
  model = nnx.eval_shape(lambda: DecoderLM(odd, V, rngs=nnx.Rngs(0)))
  with pytest.raises(ValueError, match=r"cannot say .*softcap=5.0, sinks=True"):
    save(tmp_path / "x", model)
  with pytest.raises(ValueError, match="family must be one of"):
    save(tmp_path / "x", model, family="lama")
  assert not (tmp_path / "x").exists()


def test_a_tokenizer_comes_along(tmp_path):
  tokenizers = pytest.importorskip("tokenizers")
  pytest.importorskip("jinja2")
  words = {word: i for i, word in enumerate(["a", "b", "c", "<s>", "</s>"])}
  engine = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(words, unk_token="c")
  )
  engine.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  folder = write(tmp_path / "one", published_tensors(), eos_token_id=[4, 0])
  engine.save(str(folder / "tokenizer.json"))
  template = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'tool' %}"
    "{{ raise_exception('no tools') }}{% endif %}{{ m.role }}: {{ m.content }}"
    "\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
  )
  about = {"chat_template": template, "bos_token": {"content": "<s>"}}
  (folder / "tokenizer_config.json").write_text(json.dumps(about))

  model, one = load(folder)
  save(tmp_path / "two", model, one)
  _, two = load(tmp_path / "two")
  for tokenizer in (one, two):
    assert tokenizer.encode("b a b").tolist() == [1, 0, 1]
    assert tokenizer.decode(np.array([1, 0])) == "b a"
    assert (tokenizer.vocabulary_size, tokenizer.stop) == (5, (4, 0))
    chat = tokenizer.chat([{"role": "user", "content": "a"}])
    assert chat == "<s>user: a\nassistant:"
    with pytest.raises(ValueError, match="refuses: no tools"):
      tokenizer.chat([{"role": "tool", "content": "a"}])

  # One of a larger model.
  engine.add_tokens([f"more{i}" for i in range(V)])
  engine.save(str(folder / "tokenizer.json"))
  with pytest.raises(ValueError, match=r"has the token 15, and the model only"):
    load(folder)


def one_word():
  """A tokenizer of one token."""
  tokenizers = pytest.importorskip("tokenizers")
  words = tokenizers.models.WordLevel({"a": 0}, unk_token="a")
  return PublishedTokenizer(tokenizers.Tokenizer(words))


def test_files_of_what_was_there_before_are_not_read(tmp_path):
  folder, tokenizer = tmp_path / "saved", one_word()
  model, _ = load(write(tmp_path / "given", published_tensors()))
  save(folder, model, tokenizer)
  save(folder, model, tokenizer)
  with pytest.raises(ValueError, match=r"has tokenizer.json, .*another direc"):
    save(folder, model)
  for name in ("generation_config.json", "chat_template.jinja"):
    (folder / name).write_text("{}")
    with pytest.raises(ValueError, match=rf"has {name} of what was"):
      save(folder, model, tokenizer)
    (folder / name).unlink()
  with pytest.raises(ValueError, match="must be a PublishedTokenizer or None"):
    save(tmp_path / "new", model, ImageProcessor())
  assert not (tmp_path / "new").exists()


def test_no_token_is_no_text():
  tokenizer = one_word()
  with pytest.raises(ValueError, match="tokens must be >= 0, got -1"):
    tokenizer.decode(np.array([0, -1]))


def test_patterns_are_the_shortest():
  assert shortest_pattern(tuple("aabaabaa")) == ("a", "a", "b")
  assert shortest_pattern(tuple("abc")) == tuple("abc")
