"""Tables of published encoder-decoders; see `families`."""

from collections.abc import Mapping

from attnjax.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from attnjax.models.published.common_rules import GATED_NAMES, PLAIN_NAMES
from attnjax.models.published.family import Family
from attnjax.models.published.keys import Fixed, Idle, Off, Same
from attnjax.models.published.places import Place
from attnjax.models.published.seq2seq_keys import (
  Depths,
  Projection,
  Readout,
  Said,
)

__all__ = ["SEQ2SEQ"]

_MAPS = (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output"))


def _t5_places(config: EncoderDecoderConfig) -> tuple[Place, ...]:
  """Places of T5, with gates or without."""
  gated = config.activation in dict(GATED_NAMES).values()
  return (
    Place("shared", ("target_embed",)),
    Place("lm_head", ("readout",)),
    *_stack("encoder", ("attention",), gated),
    *_stack("decoder", ("self_attention", "cross_attention"), gated),
  )


def _stack(
  name: str, attentions: tuple[str, ...], gated: bool
) -> tuple[Place, ...]:
  """Places of the encoder or the decoder: layers of a block are numbered."""
  block = f"{name}.block.{{}}.layer"
  found = [
    Place(f"{name}.final_layer_norm", (f"{name}_norm",)),
    Place(
      f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias",
      (f"{name}_bias",),
    ),
  ]
  place = lambda theirs, ours: Place(f"{block}.{theirs}", (ours,), stack=name)

  for i, (ours, theirs) in enumerate(
    zip(attentions, ("SelfAttention", "EncDecAttention"), strict=False)
  ):
    found += [place(f"{i}.{theirs}.{a}", f"{ours}.{b}") for a, b in _MAPS]
    norm = ours.removesuffix("_attention") + "_norm"
    found.append(place(f"{i}.layer_norm", norm))

  last = len(attentions)
  ups = ("wi_0", "gate"), ("wi_1", "up")
  for theirs, ours in (*(ups if gated else (("wi", "up"),)), ("wo", "down")):
    inner = f"{last}.DenseReluDense.{theirs}"
    found.append(place(inner, f"feed_forward.{ours}"))
  found.append(place(f"{last}.layer_norm", "feed_forward_norm"))
  return tuple(found)


SEQ2SEQ: Mapping[str, Family] = {
  # T5 1.0 and 1.1, and Flan-T5.
  "t5": Family(
    "T5ForConditionalGeneration",
    (
      Same("d_model", "width"),
      Same("d_kv", "head_width"),
      Same("d_ff", "hidden"),
      Same("num_heads", "heads"),
      Depths(),
      Same("layer_norm_epsilon", "epsilon", 1e-6),
      Same("relative_attention_num_buckets", "buckets", 32),
      Same("relative_attention_max_distance", "max_distance", 128),
      Same("dropout_rate", "dropout", 0.1),
      Projection(PLAIN_NAMES, GATED_NAMES),
      Readout(),
      Fixed(
        (
          ("norm", "rms"),
          ("use_bias", False),
          ("scale", 1.0),
          ("positions", "relative"),
          ("shared", True),
        )
      ),
      Off("is_encoder_decoder", (True,)),
      # Its texts begin with the token of padding.
      Said((("pad_token_id", 0), ("decoder_start_token_id", 0))),
      # Of the first weights, and of a limit that it has not.
      Idle("initializer_factor"),
      Idle("n_positions"),
    ),
    _t5_places,
    base="",
    # Of no effect, in files of the first version.
    unused=("EncDecAttention.relative_attention_bias.weight",),
    table="target_embed.embedding",
    copies=(
      "lm_head.weight",
      "encoder.embed_tokens.weight",
      "decoder.embed_tokens.weight",
    ),
    config=EncoderDecoderConfig,
    model=EncoderDecoder,
  ),
}
