"""One table a family of published models: keys -> leaves, names -> places.

Sources of the names and of what each option does: the configurations and models
of the `transformers` library, version 5.24, against which every family is
tested; Wolf et al., "Transformers: State-of-the-Art Natural Language
Processing", 2020, arXiv 1910.03771.
"""

from collections.abc import Mapping

from attnjax.models.published import decoder_places
from attnjax.models.published.common_rules import (
  GATED_NAMES,
  PLAIN_NAMES,
  SIZES,
)
from attnjax.models.published.encoder_families import ENCODERS
from attnjax.models.published.family import Family
from attnjax.models.published.keys import (
  Biases,
  Choice,
  Derived,
  Fixed,
  Idle,
  InnerWidth,
  InverseSquareRoot,
  Nullable,
  Off,
  RootOfWidth,
  Same,
)
from attnjax.models.published.layer_keys import (
  LayerTypes,
  UnrotatedLayers,
  Window,
)
from attnjax.models.published.mixture_families import (
  DEEPSEEK_RULES,
  QWEN_EXPERTS,
  deepseek_places,
  qwen_places,
)
from attnjax.models.published.rope_keys import Rope
from attnjax.models.published.seq2seq_families import SEQ2SEQ
from attnjax.models.published.vision_families import VISION

__all__ = ["FAMILIES"]


# Gemma's "gelu" was always meant as the approximation.
_GEMMA_GATED = (("gelu_pytorch_tanh", "geglu"), ("gelu", "geglu"))

_ATTENTION_BIASES = ("attention_bias", "attention_output_bias")
_BIASES = Biases("attention_bias", _ATTENTION_BIASES, False)
_KV_HEADS = Same("num_key_value_heads", "kv_heads")
_TIED = Same("tie_word_embeddings", "tied", True)


def _activation(names, default: str, key: str = "hidden_act") -> Choice:
  """The name of the activation."""
  return Choice(key, "activation", names, default)


def _epsilon(value: float, key: str = "rms_norm_eps") -> Same:
  """What norms add to the mean square."""
  return Same(key, "epsilon", value)


def _fixed(**leaves) -> Fixed:
  """Leaves that the family always has so."""
  return Fixed(tuple(leaves.items()))


_SIZES = (
  *SIZES,
  Same("max_position_embeddings", "max_length", 2048),
)
# What most decoders have in common; families add what is theirs.
_LLAMA = (
  *_SIZES,
  Derived("num_key_value_heads", "kv_heads"),
  Derived("head_dim", "head_width"),
  _epsilon(1e-6),
  _fixed(norm="rms"),
  Same("tie_word_embeddings", "tied", False),
  _activation(GATED_NAMES, "silu"),
  Rope(),
)
_QWEN = (*_LLAMA, _KV_HEADS, LayerTypes(asks=True, default=4096))
_GEMMA = (
  *_LLAMA,
  _KV_HEADS,
  Same("head_dim", "head_width"),
  _TIED,
  _BIASES,
  _fixed(norm="rms_plus_one"),
  Off("use_bidirectional_attention", (False,)),
  RootOfWidth(),
)
_NEWER_GEMMA = (
  *_GEMMA,
  _activation(_GEMMA_GATED, "gelu_pytorch_tanh", "hidden_activation"),
  _fixed(order="sandwich"),
  InverseSquareRoot("query_pre_attn_scalar"),
)

FAMILIES: Mapping[str, Family] = {
  # Llama 2 and 3, SmolLM 1 and 2, and many others under this name.
  "llama": Family(
    "LlamaForCausalLM",
    (
      *_LLAMA,
      _BIASES,
      Biases("mlp_bias", ("use_bias",), False),
      Off("rope_interleaved", (False,)),
    ),
    decoder_places.LLAMA,
  ),
  "mistral": Family(
    "MistralForCausalLM",
    (*_LLAMA, _KV_HEADS, Window(default=4096)),
    decoder_places.LLAMA,
  ),
  # Qwen 2 and 2.5.
  "qwen2": Family(
    "Qwen2ForCausalLM",
    (*_QWEN, _fixed(attention_bias=True, attention_output_bias=False)),
    decoder_places.LLAMA,
  ),
  "qwen3": Family(
    "Qwen3ForCausalLM",
    (
      *_QWEN,
      Same("head_dim", "head_width"),
      _BIASES,
      _fixed(query_key_norm="head"),
    ),
    decoder_places.LLAMA,
  ),
  "gemma": Family(
    "GemmaForCausalLM",
    (
      *_GEMMA,
      # Both keys are in published files; the first is the one in use.
      _activation(_GEMMA_GATED, "gelu_pytorch_tanh"),
      Off("hidden_activation", ("gelu_pytorch_tanh", None)),
    ),
    decoder_places.LLAMA,
  ),
  "gemma2": Family(
    "Gemma2ForCausalLM",
    (
      *_NEWER_GEMMA,
      Off("hidden_act", ("gelu_pytorch_tanh",)),
      Nullable("attn_logit_softcapping", "softcap", 50.0),
      Nullable("final_logit_softcapping", "logits_softcap", 30.0),
      LayerTypes(period=2, default=4096),
    ),
    decoder_places.SANDWICH,
  ),
  "gemma3_text": Family(
    "Gemma3ForCausalLM",
    (
      *_NEWER_GEMMA,
      _fixed(query_key_norm="head"),
      # The library reads it and does not use it.
      Off("attn_logit_softcapping", (None,)),
      Nullable("final_logit_softcapping", "logits_softcap"),
      LayerTypes(period=6, default=4096),
      Rope(base=1_000_000.0, local_base=10_000.0),
    ),
    decoder_places.SANDWICH,
  ),
  "phi3": Family(
    "Phi3ForCausalLM",
    (*_LLAMA, _epsilon(1e-5), Window(), Rope(original=4096, partial=True)),
    decoder_places.PHI3,
  ),
  "olmo2": Family(
    "Olmo2ForCausalLM",
    (
      *_LLAMA,
      _epsilon(1e-5),
      _BIASES,
      _fixed(order="output", query_key_norm="heads"),
    ),
    decoder_places.OLMO2,
  ),
  "smollm3": Family(
    "SmolLM3ForCausalLM",
    (
      *_LLAMA,
      _KV_HEADS,
      _TIED,
      _BIASES,
      Biases("mlp_bias", ("use_bias",), False),
      UnrotatedLayers(),
      Rope(base=2_000_000.0),
    ),
    decoder_places.LLAMA,
  ),
  "mixtral": Family(
    "MixtralForCausalLM",
    (
      *_LLAMA,
      _KV_HEADS,
      _epsilon(1e-5),
      Window(),
      Same("num_local_experts", "experts.count", 8),
      Same("num_experts_per_tok", "experts.active", 2),
      _fixed(**{"experts.normalized": True}),
    ),
    decoder_places.MIXTRAL,
  ),
  "qwen2_moe": Family(
    "Qwen2MoeForCausalLM",
    (
      *_QWEN,
      LayerTypes(asks=True, below=True, period=2, default=4096),
      Biases("qkv_bias", ("attention_bias",), True),
      *QWEN_EXPERTS,
      Same("shared_expert_intermediate_size", "experts.shared"),
      _fixed(**{"experts.shared_gate": True}, attention_output_bias=False),
    ),
    qwen_places,
  ),
  "qwen3_moe": Family(
    "Qwen3MoeForCausalLM",
    (
      *_LLAMA,
      _KV_HEADS,
      _BIASES,
      Window(asks=True, default=4096),
      *QWEN_EXPERTS,
      _fixed(query_key_norm="head"),
    ),
    qwen_places,
  ),
  # DeepSeek-V2 and V2-Lite.
  "deepseek_v2": Family(
    "DeepseekV2ForCausalLM",
    (
      *_LLAMA,
      _BIASES,
      Nullable("q_lora_rank", "latent.query_width", 1536),
      *DEEPSEEK_RULES,
      _fixed(**{"experts.normalized": False}),
    ),
    deepseek_places,
  ),
  "gpt_oss": Family(
    "GptOssForCausalLM",
    (
      *_LLAMA,
      _KV_HEADS,
      _epsilon(1e-5),
      Biases("attention_bias", _ATTENTION_BIASES, True),
      LayerTypes(period=2, default=128),
      _activation((("silu", "clipped_swiglu"),), "silu"),
      Off("swiglu_alpha", (1.702,)),
      Off("swiglu_limit", (7.0,)),
      Same("num_local_experts", "experts.count", 128),
      Same("num_experts_per_tok", "experts.active", 4),
      _fixed(**{"experts.normalized": True}, sinks=True, use_bias=True),
      # The same once more, in published files.
      Idle("experts_per_token"),
      Idle("initial_context_length"),
      Rope(
        base=150_000.0,
        default={
          "rope_type": "yarn",
          "factor": 32.0,
          "truncate": False,
          "original_max_position_embeddings": 4096,
        },
      ),
    ),
    decoder_places.GPT_OSS,
  ),
  "gpt2": Family(
    "GPT2LMHeadModel",
    (
      Same("n_embd", "width"),
      Same("n_layer", "depth"),
      Same("n_head", "heads"),
      Same("n_positions", "max_length", 1024),
      InnerWidth("n_inner", "n_embd"),
      _epsilon(1e-5, "layer_norm_epsilon"),
      _TIED,
      _activation(PLAIN_NAMES, "gelu_new", "activation_function"),
      Off("scale_attn_weights", (True,)),
      Off("scale_attn_by_inverse_layer_idx", (False,)),
      Off("add_cross_attention", (False,)),
      _fixed(norm="layer", use_bias=True, positions="learned"),
    ),
    decoder_places.GPT2,
    base="transformer.",
    # The causal mask.
    unused=("attn.bias", "attn.masked_bias"),
  ),
  # GPT-NeoX and Pythia.
  "gpt_neox": Family(
    "GPTNeoXForCausalLM",
    (
      *_SIZES,
      _epsilon(1e-5, "layer_norm_eps"),
      Same("tie_word_embeddings", "tied", False),
      _activation(PLAIN_NAMES, "gelu"),
      Biases("attention_bias", _ATTENTION_BIASES, True),
      Choice(
        "use_parallel_residual",
        "order",
        ((True, "parallel"), (False, "pre")),
        True,
      ),
      Rope(
        share=0.25,
        share_key="rotary_pct",
        base_key="rotary_emb_base",
        partial=True,
      ),
      _fixed(norm="layer", use_bias=True),
    ),
    decoder_places.GPT_NEOX,
    base="gpt_neox.",
    aliases=(("lm_head.weight", "embed_out.weight"),),
    unused=(
      "rotary_emb.inv_freq",
      "attention.bias",
      "attention.masked_bias",
    ),
  ),
  **ENCODERS,
  **SEQ2SEQ,
  **VISION,
}
