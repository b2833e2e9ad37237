"""Tables of published encoders; see `families`."""

from collections.abc import Mapping

from attnjax.models.encoder import Encoder, EncoderConfig
from attnjax.models.published.common_rules import (
  GATED_NAMES,
  PLAIN_NAMES,
  SIZES,
)
from attnjax.models.published.family import Family
from attnjax.models.published.keys import (
  Biases,
  Choice,
  Fixed,
  Idle,
  Off,
  PaddedLength,
  Same,
)
from attnjax.models.published.layer_keys import LocalLayers
from attnjax.models.published.places import Place
from attnjax.models.published.rope_keys import Rope

__all__ = ["ENCODERS"]

_BERT = (
  *SIZES,
  Same("max_position_embeddings", "max_length", 512),
  Same("type_vocab_size", "token_kinds", 2),
  Same("layer_norm_eps", "epsilon", 1e-12),
  Choice("hidden_act", "activation", PLAIN_NAMES, "gelu"),
  Off("position_embedding_type", ("absolute",)),
  Off("is_decoder", (False,)),
  Off("add_cross_attention", (False,)),
  # Of a readout.
  Idle("tie_word_embeddings"),
)


def _embeddings(base: str) -> tuple[Place, ...]:
  """Tables, and the norm of their sum."""
  return (
    Place(f"{base}.word_embeddings", ("embed",)),
    Place(f"{base}.position_embeddings", ("position_table",)),
    Place(f"{base}.token_type_embeddings", ("kind_table",)),
    Place(f"{base}.LayerNorm", ("embedding_norm",)),
  )


def _bert(base: str) -> tuple[Place, ...]:
  """Places of BERT and RoBERTa."""
  layer = f"{base}.encoder.layer.{{}}"
  of_self = f"{layer}.attention.self"
  return (
    *_embeddings(f"{base}.embeddings"),
    Place(f"{of_self}.query", ("attention.query",)),
    Place(f"{of_self}.key", ("attention.key",)),
    Place(f"{of_self}.value", ("attention.value",)),
    Place(f"{layer}.attention.output.dense", ("attention.output",)),
    Place(f"{layer}.attention.output.LayerNorm", ("attention_norm",)),
    Place(f"{layer}.intermediate.dense", ("feed_forward.up",)),
    Place(f"{layer}.output.dense", ("feed_forward.down",)),
    Place(f"{layer}.output.LayerNorm", ("feed_forward_norm",)),
  )


_LAYER = "distilbert.transformer.layer.{}"
_DISTILBERT = (
  *_embeddings("distilbert.embeddings"),
  Place(f"{_LAYER}.attention.q_lin", ("attention.query",)),
  Place(f"{_LAYER}.attention.k_lin", ("attention.key",)),
  Place(f"{_LAYER}.attention.v_lin", ("attention.value",)),
  Place(f"{_LAYER}.attention.out_lin", ("attention.output",)),
  Place(f"{_LAYER}.sa_layer_norm", ("attention_norm",)),
  Place(f"{_LAYER}.ffn.lin1", ("feed_forward.up",)),
  Place(f"{_LAYER}.ffn.lin2", ("feed_forward.down",)),
  Place(f"{_LAYER}.output_layer_norm", ("feed_forward_norm",)),
)


_MODERN = "model.layers.{}"
_QKV = ("attention.query", "attention.key", "attention.value")
_MODERNBERT = (
  Place("model.embeddings.tok_embeddings", ("embed",)),
  Place("model.embeddings.norm", ("embedding_norm",)),
  # The embeddings are normalised, and not once more.
  Place(f"{_MODERN}.attn_norm", ("attention_norm",), without=(0,)),
  Place(f"{_MODERN}.attn.Wqkv", _QKV),
  Place(f"{_MODERN}.attn.Wo", ("attention.output",)),
  Place(f"{_MODERN}.mlp_norm", ("feed_forward_norm",)),
  Place(f"{_MODERN}.mlp.Wi", ("feed_forward.gate", "feed_forward.up")),
  Place(f"{_MODERN}.mlp.Wo", ("feed_forward.down",)),
  Place("model.final_norm", ("norm",)),
)


def _encoder(
  architecture: str, rules, places, base: str, heads: tuple[str, ...]
) -> Family:
  """A family of encoders."""
  return Family(
    architecture,
    rules,
    places,
    base=base,
    # Of files of the first library.
    aliases=(
      ("LayerNorm.gamma", "LayerNorm.weight"),
      ("LayerNorm.beta", "LayerNorm.bias"),
    ),
    unused=("embeddings.position_ids", "embeddings.token_type_ids"),
    heads=heads,
    config=EncoderConfig,
    model=Encoder,
  )


_IDLE_OF_MODERNBERT = (
  *("position_embedding_type", "layer_norm_eps"),
  *("tie_word_embeddings", "decoder_bias", "classifier_pooling"),
  *("classifier_bias", "classifier_activation", "sparse_prediction"),
  *("sparse_pred_ignore_index", "deterministic_flash_attn"),
  *("embedding_dropout", "mlp_dropout", "initializer_cutoff_factor"),
  *("reference_compile", "repad_logits_with_grad"),
)
_TASKS = ("classifier", "pooler", "qa_outputs")
_OF_DISTILBERT = ("vocab_transform", "vocab_layer_norm", "vocab_projector")
ENCODERS: Mapping[str, Family] = {
  # BERT, and MiniLM under its name.
  "bert": _encoder(
    "BertModel", _BERT, _bert("bert"), "bert.", (*_TASKS, "cls")
  ),
  "roberta": _encoder(
    "RobertaModel",
    (*_BERT, PaddedLength("max_position_embeddings", 1)),
    _bert("roberta"),
    "roberta.",
    (*_TASKS, "lm_head"),
  ),
  "modernbert": _encoder(
    "ModernBertModel",
    (
      *SIZES,
      # The rotation has no limit, but a scaling may begin at it.
      Same("max_position_embeddings", "max_length", 8192),
      Same("norm_eps", "epsilon", 1e-5),
      Choice("hidden_activation", "activation", GATED_NAMES, "gelu"),
      Biases(
        "attention_bias", ("attention_bias", "attention_output_bias"), False
      ),
      Off("mlp_bias", (False,)),
      Off("norm_bias", (False,)),
      LocalLayers(),
      Rope(
        base=160_000.0,
        local_base=10_000.0,
        base_key="global_rope_theta",
        local_key="local_rope_theta",
      ),
      Fixed(
        (
          ("order", "pre"),
          ("use_bias", False),
          ("token_kinds", 0),
          ("first_norm", False),
        )
      ),
      # Of a readout, or of no effect.
      *map(Idle, _IDLE_OF_MODERNBERT),
    ),
    _MODERNBERT,
    "model.",
    (*_TASKS, "head", "decoder"),
  ),
  "distilbert": _encoder(
    "DistilBertModel",
    (
      Same("dim", "width"),
      Same("n_layers", "depth"),
      Same("n_heads", "heads"),
      Same("hidden_dim", "hidden"),
      Same("max_position_embeddings", "max_length", 512),
      Choice("activation", "activation", PLAIN_NAMES, "gelu"),
      Fixed((("token_kinds", 0),)),
      # The table is in the file, whatever it was made of.
      Idle("sinusoidal_pos_embds"),
      Idle("tie_word_embeddings"),
      Idle("tie_weights_"),
    ),
    _DISTILBERT,
    "distilbert.",
    (*_TASKS, "pre_classifier", *_OF_DISTILBERT),
  ),
}
