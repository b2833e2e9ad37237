"""Keys of a published config.json: what is read, and what is refused."""

import pytest
from flax import nnx

from attnjax.models import (
  DecoderConfig,
  DecoderLM,
  load,
  save,
)
from attnjax.models.published.read_config import config_of
from tests.models.small_llama import LLAMA, F, L, V, published_tensors, write

safetensors = pytest.importorskip("safetensors.numpy")


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


def test_what_no_family_says_is_named(tmp_path):
  config = DecoderConfig(width=8, depth=1, heads=2, activation="swiglu")
  odd = DecoderConfig(**(vars(config) | {"sinks": True, "softcap": 5.0}))
  model = nnx.eval_shape(lambda: DecoderLM(odd, V, rngs=nnx.Rngs(0)))
  with pytest.raises(ValueError, match=r"cannot say .*softcap=5.0, sinks=True"):
    save(tmp_path / "x", model)
  with pytest.raises(ValueError, match="family must be one of"):
    save(tmp_path / "x", model, family="lama")
  assert not (tmp_path / "x").exists()
