"""Tables of published encoders; see `families`."""

from collections.abc import Mapping

from attnjax.models.encoder import Encoder, EncoderConfig
from attnjax.models.published.family import Family
from attnjax.models.published.keys import (
  Choice,
  Fixed,
  Idle,
  Off,
  PaddedLength,
  Same,
)
from attnjax.models.published.places import Place

__all__ = ["ENCODERS", "PLAIN_NAMES"]

PLAIN_NAMES = (
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

_BERT = (
  Same("hidden_size", "width"),
  Same("num_hidden_layers", "depth"),
  Same("num_attention_heads", "heads"),
  Same("intermediate_size", "hidden"),
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


_TASKS = ("classifier.", "pooler.", "qa_outputs.")
ENCODERS: Mapping[str, Family] = {
  # BERT, and MiniLM under its name.
  "bert": _encoder(
    "BertModel", _BERT, _bert("bert"), "bert.", (*_TASKS, "cls.")
  ),
  "roberta": _encoder(
    "RobertaModel",
    (*_BERT, PaddedLength("max_position_embeddings", 1)),
    _bert("roberta"),
    "roberta.",
    (*_TASKS, "lm_head."),
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
    (*_TASKS, "pre_classifier.", "vocab_"),
  ),
}
