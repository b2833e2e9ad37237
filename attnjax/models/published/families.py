"""One table a family of published models: keys -> leaves, names -> places.

Sources of the names and of what each option does: the configurations and models
of the `transformers` library, version 5.24, against which every family is
tested; Wolf et al., "Transformers: State-of-the-Art Natural Language
Processing", 2020, arXiv 1910.03771.
"""

import dataclasses
from collections.abc import Mapping

from attnjax.models.published.keys import (
  Biases,
  Choice,
  Derived,
  Fixed,
  InnerWidth,
  InverseSquareRoot,
  Nullable,
  Off,
  RootOfWidth,
  Rule,
  Same,
)
from attnjax.models.published.layer_keys import (
  LayerTypes,
  UnrotatedLayers,
  Window,
)
from attnjax.models.published.places import Place
from attnjax.models.published.rope_keys import Rope

__all__ = ["FAMILIES", "Family"]


@dataclasses.dataclass(frozen=True)
class Family:
  """How a family of published models says a decoder.

  Args:
    architecture: the class of the `transformers` library.
    base: what comes before every name but that of the readout; a file saved
      without the readout has names without it.
    rules: of the keys of config.json.
    places: of the tensors.
    vocabulary: the key of the number of tokens.
    aliases: other names that files have for some tensors, and ours.
    unused: ends of names of tensors that are no parameters.

  >>> FAMILIES["llama"].architecture
  'LlamaForCausalLM'
  """

  architecture: str
  base: str
  rules: tuple[Rule, ...]
  places: tuple[Place, ...]
  vocabulary: str = "vocab_size"
  aliases: tuple[tuple[str, str], ...] = ()
  unused: tuple[str, ...] = ("rotary_emb.inv_freq",)


_GATED = (
  ("silu", "swiglu"),
  ("swish", "swiglu"),
  ("gelu_pytorch_tanh", "geglu"),
  ("gelu_new", "geglu"),
  ("gelu", "geglu_erf"),
  ("relu", "reglu"),
)
_PLAIN = (
  ("gelu_new", "gelu"),
  ("gelu_pytorch_tanh", "gelu"),
  ("gelu_fast", "gelu"),
  ("gelu", "gelu_erf"),
  ("quick_gelu", "quick_gelu"),
  ("relu", "relu"),
  ("relu2", "squared_relu"),
  ("silu", "silu"),
  ("swish", "silu"),
)
# Gemma's "gelu" was always meant as the approximation.
_GEMMA_GATED = (("gelu_pytorch_tanh", "geglu"), ("gelu", "geglu"))

_SIZES = (
  Same("hidden_size", "width"),
  Same("num_hidden_layers", "depth"),
  Same("num_attention_heads", "heads"),
  Same("intermediate_size", "hidden"),
  Same("max_position_embeddings", "max_length", 2048),
)
_KV_HEADS = Same("num_key_value_heads", "kv_heads")
_ALL_KV_HEADS = Derived("num_key_value_heads", "kv_heads")
_HEAD_WIDTH = Same("head_dim", "head_width")
_SHARE_OF_WIDTH = Derived("head_dim", "head_width")
_ATTENTION_BIASES = ("attention_bias", "attention_output_bias")
_BIASES = Biases("attention_bias", _ATTENTION_BIASES, False)


def _choice(key: str, names, default: str) -> Choice:
  """The name of the activation."""
  return Choice(key, "activation", names, default)


def _rms(epsilon: float, **leaves) -> tuple[Rule, ...]:
  """RMS norms, and leaves that the family always has so."""
  fixed = {"norm": "rms"} | leaves
  return (
    Same("rms_norm_eps", "epsilon", epsilon),
    Fixed(tuple(fixed.items())),
  )


_QKV = ("attention.query", "attention.key", "attention.value")
_LAYER = "model.layers.{}"
_TABLES = (
  Place("model.embed_tokens", ("embed",)),
  Place("model.norm", ("norm",)),
  Place("lm_head", ("readout",)),
)
_ATTENTION = (
  Place(f"{_LAYER}.self_attn.q_proj", ("attention.query",)),
  Place(f"{_LAYER}.self_attn.k_proj", ("attention.key",)),
  Place(f"{_LAYER}.self_attn.v_proj", ("attention.value",)),
  Place(f"{_LAYER}.self_attn.o_proj", ("attention.output",)),
  Place(f"{_LAYER}.self_attn.q_norm", ("attention.query_norm.norm",)),
  Place(f"{_LAYER}.self_attn.k_norm", ("attention.key_norm.norm",)),
)
_FEED_FORWARD = (
  Place(f"{_LAYER}.mlp.gate_proj", ("feed_forward.gate",)),
  Place(f"{_LAYER}.mlp.up_proj", ("feed_forward.up",)),
  Place(f"{_LAYER}.mlp.down_proj", ("feed_forward.down",)),
)
_PRE_NORMS = (
  Place(f"{_LAYER}.input_layernorm", ("attention_norm",)),
  Place(f"{_LAYER}.post_attention_layernorm", ("feed_forward_norm",)),
)
_LLAMA = (*_TABLES, *_ATTENTION, *_FEED_FORWARD, *_PRE_NORMS)
_SANDWICH_NORMS = (
  Place(f"{_LAYER}.input_layernorm", ("attention_norm",)),
  Place(f"{_LAYER}.post_attention_layernorm", ("attention_output_norm",)),
  Place(f"{_LAYER}.pre_feedforward_layernorm", ("feed_forward_norm",)),
  Place(f"{_LAYER}.post_feedforward_layernorm", ("feed_forward_output_norm",)),
)
_OUTPUT_NORMS = (
  Place(f"{_LAYER}.post_attention_layernorm", ("attention_norm",)),
  Place(f"{_LAYER}.post_feedforward_layernorm", ("feed_forward_norm",)),
)
_PHI3 = (
  *_TABLES,
  Place(f"{_LAYER}.self_attn.qkv_proj", _QKV),
  Place(f"{_LAYER}.self_attn.o_proj", ("attention.output",)),
  Place(f"{_LAYER}.mlp.gate_up_proj", ("feed_forward.gate", "feed_forward.up")),
  Place(f"{_LAYER}.mlp.down_proj", ("feed_forward.down",)),
  *_PRE_NORMS,
)
_GPT2 = (
  Place("transformer.wte", ("embed",)),
  Place("transformer.wpe", ("position_table",)),
  Place("transformer.ln_f", ("norm",)),
  Place("lm_head", ("readout",)),
  Place("transformer.h.{}.ln_1", ("attention_norm",)),
  Place("transformer.h.{}.ln_2", ("feed_forward_norm",)),
  Place("transformer.h.{}.attn.c_attn", _QKV, "in_out"),
  Place("transformer.h.{}.attn.c_proj", ("attention.output",), "in_out"),
  Place("transformer.h.{}.mlp.c_fc", ("feed_forward.up",), "in_out"),
  Place("transformer.h.{}.mlp.c_proj", ("feed_forward.down",), "in_out"),
)
_NEOX = "gpt_neox.layers.{}"
_GPT_NEOX = (
  Place("gpt_neox.embed_in", ("embed",)),
  Place("gpt_neox.final_layer_norm", ("norm",)),
  Place("embed_out", ("readout",)),
  Place(f"{_NEOX}.input_layernorm", ("attention_norm",)),
  Place(f"{_NEOX}.post_attention_layernorm", ("feed_forward_norm",)),
  Place(f"{_NEOX}.attention.query_key_value", _QKV, by_head=True),
  Place(f"{_NEOX}.attention.dense", ("attention.output",)),
  Place(f"{_NEOX}.mlp.dense_h_to_4h", ("feed_forward.up",)),
  Place(f"{_NEOX}.mlp.dense_4h_to_h", ("feed_forward.down",)),
)

_GEMMA = (
  *_SIZES,
  _KV_HEADS,
  _HEAD_WIDTH,
  Same("tie_word_embeddings", "tied", True),
  _BIASES,
  Off("use_bidirectional_attention", (False,)),
  RootOfWidth(),
)
_QWEN = (
  *_SIZES,
  _KV_HEADS,
  *_rms(1e-6),
  Same("tie_word_embeddings", "tied", False),
  _choice("hidden_act", _GATED, "silu"),
  LayerTypes(asks=True, default=4096),
  Rope(),
)

FAMILIES: Mapping[str, Family] = {
  # Llama 2 and 3, SmolLM 1 and 2, and many others under this name.
  "llama": Family(
    "LlamaForCausalLM",
    "model.",
    (
      *_SIZES,
      _ALL_KV_HEADS,
      _SHARE_OF_WIDTH,
      *_rms(1e-6),
      Same("tie_word_embeddings", "tied", False),
      _choice("hidden_act", _GATED, "silu"),
      _BIASES,
      Biases("mlp_bias", ("use_bias",), False),
      Off("rope_interleaved", (False,)),
      Rope(),
    ),
    _LLAMA,
  ),
  "mistral": Family(
    "MistralForCausalLM",
    "model.",
    (
      *_SIZES,
      _KV_HEADS,
      _SHARE_OF_WIDTH,
      *_rms(1e-6),
      Same("tie_word_embeddings", "tied", False),
      _choice("hidden_act", _GATED, "silu"),
      Window(default=4096),
      Rope(),
    ),
    _LLAMA,
  ),
  # Qwen 2 and 2.5.
  "qwen2": Family(
    "Qwen2ForCausalLM",
    "model.",
    (
      *_QWEN,
      _SHARE_OF_WIDTH,
      Fixed((("attention_bias", True), ("attention_output_bias", False))),
    ),
    _LLAMA,
  ),
  "qwen3": Family(
    "Qwen3ForCausalLM",
    "model.",
    (*_QWEN, _HEAD_WIDTH, _BIASES, Fixed((("query_key_norm", "head"),))),
    _LLAMA,
  ),
  "gemma": Family(
    "GemmaForCausalLM",
    "model.",
    (
      *_GEMMA,
      *_rms(1e-6, norm="rms_plus_one"),
      # Both keys are in published files; the first is the one in use.
      _choice("hidden_act", _GEMMA_GATED, "gelu_pytorch_tanh"),
      Off("hidden_activation", ("gelu_pytorch_tanh", None)),
      Rope(),
    ),
    _LLAMA,
  ),
  "gemma2": Family(
    "Gemma2ForCausalLM",
    "model.",
    (
      *_GEMMA,
      *_rms(1e-6, norm="rms_plus_one", order="sandwich"),
      _choice("hidden_activation", _GEMMA_GATED, "gelu_pytorch_tanh"),
      Off("hidden_act", ("gelu_pytorch_tanh",)),
      InverseSquareRoot("query_pre_attn_scalar"),
      Nullable("attn_logit_softcapping", "softcap", 50.0),
      Nullable("final_logit_softcapping", "logits_softcap", 30.0),
      LayerTypes(period=2, default=4096),
      Rope(),
    ),
    (*_TABLES, *_ATTENTION, *_FEED_FORWARD, *_SANDWICH_NORMS),
  ),
  "gemma3_text": Family(
    "Gemma3ForCausalLM",
    "model.",
    (
      *_GEMMA,
      *_rms(1e-6, norm="rms_plus_one", order="sandwich", query_key_norm="head"),
      _choice("hidden_activation", _GEMMA_GATED, "gelu_pytorch_tanh"),
      InverseSquareRoot("query_pre_attn_scalar"),
      # The library reads it and does not use it.
      Off("attn_logit_softcapping", (None,)),
      Nullable("final_logit_softcapping", "logits_softcap"),
      LayerTypes(period=6, default=4096),
      Rope(base=1_000_000.0, local_base=10_000.0),
    ),
    (*_TABLES, *_ATTENTION, *_FEED_FORWARD, *_SANDWICH_NORMS),
  ),
  "phi3": Family(
    "Phi3ForCausalLM",
    "model.",
    (
      *_SIZES,
      _ALL_KV_HEADS,
      _SHARE_OF_WIDTH,
      *_rms(1e-5),
      Same("tie_word_embeddings", "tied", False),
      _choice("hidden_act", _GATED, "silu"),
      Window(),
      Rope(original=4096),
    ),
    _PHI3,
  ),
  "olmo2": Family(
    "Olmo2ForCausalLM",
    "model.",
    (
      *_SIZES,
      _ALL_KV_HEADS,
      _SHARE_OF_WIDTH,
      *_rms(1e-5, order="output", query_key_norm="heads"),
      Same("tie_word_embeddings", "tied", False),
      _choice("hidden_act", _GATED, "silu"),
      _BIASES,
      Rope(),
    ),
    (*_TABLES, *_ATTENTION, *_FEED_FORWARD, *_OUTPUT_NORMS),
  ),
  "smollm3": Family(
    "SmolLM3ForCausalLM",
    "model.",
    (
      *_SIZES,
      _KV_HEADS,
      _SHARE_OF_WIDTH,
      *_rms(1e-6),
      Same("tie_word_embeddings", "tied", True),
      _choice("hidden_act", _GATED, "silu"),
      _BIASES,
      Biases("mlp_bias", ("use_bias",), False),
      UnrotatedLayers(),
      Rope(base=2_000_000.0),
    ),
    _LLAMA,
  ),
  "gpt2": Family(
    "GPT2LMHeadModel",
    "transformer.",
    (
      Same("n_embd", "width"),
      Same("n_layer", "depth"),
      Same("n_head", "heads"),
      Same("n_positions", "max_length", 1024),
      InnerWidth("n_inner", "n_embd"),
      Same("layer_norm_epsilon", "epsilon", 1e-5),
      Same("tie_word_embeddings", "tied", True),
      _choice("activation_function", _PLAIN, "gelu_new"),
      Off("scale_attn_weights", (True,)),
      Off("scale_attn_by_inverse_layer_idx", (False,)),
      Off("add_cross_attention", (False,)),
      Fixed((("norm", "layer"), ("use_bias", True), ("positions", "learned"))),
    ),
    _GPT2,
    # The causal mask.
    unused=(".attn.bias", ".attn.masked_bias"),
  ),
  # GPT-NeoX and Pythia.
  "gpt_neox": Family(
    "GPTNeoXForCausalLM",
    "gpt_neox.",
    (
      *_SIZES,
      Same("layer_norm_eps", "epsilon", 1e-5),
      Same("tie_word_embeddings", "tied", False),
      _choice("hidden_act", _PLAIN, "gelu"),
      Biases("attention_bias", _ATTENTION_BIASES, True),
      Choice(
        "use_parallel_residual",
        "order",
        ((True, "parallel"), (False, "pre")),
        True,
      ),
      Rope(share=0.25, share_key="rotary_pct", base_key="rotary_emb_base"),
      Fixed((("norm", "layer"), ("use_bias", True))),
    ),
    _GPT_NEOX,
    aliases=(("lm_head.weight", "embed_out.weight"),),
    unused=(
      "rotary_emb.inv_freq",
      ".attention.bias",
      ".attention.masked_bias",
    ),
  ),
}
