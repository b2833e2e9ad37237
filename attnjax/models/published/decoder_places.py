"""Names of the tensors of published decoders, and their places in ours."""

from attnjax.models.published.places import Place

__all__ = [
  "FEED_FORWARD",
  "GPT2",
  "GPT_NEOX",
  "GPT_OSS",
  "LAYER",
  "LLAMA",
  "MIXTRAL",
  "OLMO2",
  "PHI3",
  "PRE_NORMS",
  "QWEN_MOE",
  "SANDWICH",
  "TABLES",
  "mixture",
]

_QKV = ("attention.query", "attention.key", "attention.value")
LAYER = "model.layers.{}"
TABLES = (
  Place("model.embed_tokens", ("embed",)),
  Place("model.norm", ("norm",)),
  Place("lm_head", ("readout",)),
)
_ATTENTION = (
  Place(f"{LAYER}.self_attn.q_proj", ("attention.query",)),
  Place(f"{LAYER}.self_attn.k_proj", ("attention.key",)),
  Place(f"{LAYER}.self_attn.v_proj", ("attention.value",)),
  Place(f"{LAYER}.self_attn.o_proj", ("attention.output",)),
  Place(f"{LAYER}.self_attn.q_norm", ("attention.query_norm.norm",)),
  Place(f"{LAYER}.self_attn.k_norm", ("attention.key_norm.norm",)),
)
FEED_FORWARD = (
  Place(f"{LAYER}.mlp.gate_proj", ("feed_forward.gate",)),
  Place(f"{LAYER}.mlp.up_proj", ("feed_forward.up",)),
  Place(f"{LAYER}.mlp.down_proj", ("feed_forward.down",)),
)
PRE_NORMS = (
  Place(f"{LAYER}.input_layernorm", ("attention_norm",)),
  Place(f"{LAYER}.post_attention_layernorm", ("feed_forward_norm",)),
)
LLAMA = (*TABLES, *_ATTENTION, *FEED_FORWARD, *PRE_NORMS)
_SANDWICH_NORMS = (
  Place(f"{LAYER}.input_layernorm", ("attention_norm",)),
  Place(f"{LAYER}.post_attention_layernorm", ("attention_output_norm",)),
  Place(f"{LAYER}.pre_feedforward_layernorm", ("feed_forward_norm",)),
  Place(f"{LAYER}.post_feedforward_layernorm", ("feed_forward_output_norm",)),
)
_OUTPUT_NORMS = (
  Place(f"{LAYER}.post_attention_layernorm", ("attention_norm",)),
  Place(f"{LAYER}.post_feedforward_layernorm", ("feed_forward_norm",)),
)
PHI3 = (
  *TABLES,
  Place(f"{LAYER}.self_attn.qkv_proj", _QKV),
  Place(f"{LAYER}.self_attn.o_proj", ("attention.output",)),
  Place(f"{LAYER}.mlp.gate_up_proj", ("feed_forward.gate", "feed_forward.up")),
  Place(f"{LAYER}.mlp.down_proj", ("feed_forward.down",)),
  *PRE_NORMS,
)
GPT2 = (
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
GPT_NEOX = (
  Place("gpt_neox.embed_in", ("embed",)),
  Place("gpt_neox.final_layer_norm", ("norm",)),
  Place("embed_out", ("readout",)),
  Place(f"{_NEOX}.input_layernorm", ("attention_norm",)),
  Place(f"{_NEOX}.post_attention_layernorm", ("feed_forward_norm",)),
  Place(f"{_NEOX}.attention.query_key_value", _QKV, by="head"),
  Place(f"{_NEOX}.attention.dense", ("attention.output",)),
  Place(f"{_NEOX}.mlp.dense_h_to_4h", ("feed_forward.up",)),
  Place(f"{_NEOX}.mlp.dense_4h_to_h", ("feed_forward.down",)),
)
SANDWICH = (*TABLES, *_ATTENTION, *FEED_FORWARD, *_SANDWICH_NORMS)
OLMO2 = (*TABLES, *_ATTENTION, *FEED_FORWARD, *_OUTPUT_NORMS)


def mixture(block: str, gate: str, up: str, down: str) -> tuple[Place, ...]:
  """A router, and experts of a tensor each.

  >>> [place.ours for place in mixture("mlp", "w1", "w3", "w2")][1]
  ('feed_forward.gate',)
  """
  expert = f"{block}.experts.{{}}"
  return (
    Place(f"{block}.gate", ("feed_forward.router",)),
    Place(f"{expert}.{gate}", ("feed_forward.gate",)),
    Place(f"{expert}.{up}", ("feed_forward.up",)),
    Place(f"{expert}.{down}", ("feed_forward.down",)),
  )


_ROUTED = (*TABLES, *_ATTENTION, *PRE_NORMS)
_SHARED = f"{LAYER}.mlp.shared_expert"
MIXTRAL = (*_ROUTED, *mixture(f"{LAYER}.block_sparse_moe", "w1", "w3", "w2"))
QWEN_MOE = (
  *_ROUTED,
  *mixture(f"{LAYER}.mlp", "gate_proj", "up_proj", "down_proj"),
  Place(f"{_SHARED}.gate_proj", ("feed_forward.shared.gate",)),
  Place(f"{_SHARED}.up_proj", ("feed_forward.shared.up",)),
  Place(f"{_SHARED}.down_proj", ("feed_forward.shared.down",)),
  Place(f"{_SHARED}_gate", ("feed_forward.shared_gate",)),
)
# All experts in one tensor, and gate and up by turns in its last axis.
_AS_NAMED = (("kernel", ""), ("bias", "_bias"))
_EXPERTS = f"{LAYER}.mlp.experts"
GPT_OSS = (
  *_ROUTED,
  Place(f"{LAYER}.self_attn.sinks", ("attention.sink",)),
  Place(f"{LAYER}.mlp.router", ("feed_forward.router",)),
  Place(
    f"{_EXPERTS}.gate_up_proj",
    ("feed_forward.gate", "feed_forward.up"),
    "in_out",
    by="feature",
    suffixes=_AS_NAMED,
    experts=True,
  ),
  Place(
    f"{_EXPERTS}.down_proj",
    ("feed_forward.down",),
    "in_out",
    suffixes=_AS_NAMED,
    experts=True,
  ),
)
