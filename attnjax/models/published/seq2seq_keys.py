"""Keys of a published config.json of an encoder-decoder."""

import dataclasses
from typing import Any

from attnjax.models.encoder_decoder_config import EncoderDecoderConfig
from attnjax.models.published.keys import Keys

__all__ = ["Depths", "Projection", "Readout", "Said"]


@dataclasses.dataclass(frozen=True)
class Depths:
  """Layers of the encoder, and those of the decoder if they are others."""

  def read(self, keys: Keys) -> dict[str, Any]:
    """Both depths."""
    depth = keys.need("num_layers")
    other = keys.get("num_decoder_layers", depth)
    return {"encoder_depth": depth, "decoder_depth": other}

  def write(self, config: EncoderDecoderConfig) -> dict[str, Any]:
    """Both depths."""
    return {
      "num_layers": config.encoder_depth,
      "num_decoder_layers": config.decoder_depth,
    }


@dataclasses.dataclass(frozen=True)
class Projection:
  """The activation of T5, "relu" or "gated-gelu", said once more in parts.

  Args:
    plain: published names of activations and ours.
    gated: the same with gates.
  """

  plain: tuple[tuple[str, str], ...]
  gated: tuple[tuple[str, str], ...]

  def read(self, keys: Keys) -> dict[str, Any]:
    """The activation; the parts count where both are there."""
    said = keys.get("feed_forward_proj", "relu")
    first, *rest = said.split("-")
    gated = keys.get("is_gated_act", first == "gated")
    # Its name says the exact one, and always meant the approximation.
    name = "gelu_new" if said == "gated-gelu" else said.split("-")[-1]
    name = keys.get("dense_act_fn", name)
    known = dict(self.gated if gated else self.plain)
    if name not in known or (rest and first != "gated") or len(rest) > 1:
      raise ValueError(
        f"config.json: feed_forward_proj must be one of {[*dict(self.plain)]},"
        f" or gated- and one of {[*dict(self.gated)]}, got {said!r} with"
        f" {name!r}"
      )
    return {"activation": known[name]}

  def write(self, config: EncoderDecoderConfig) -> dict[str, Any]:
    """The activation as one name, and its parts."""
    for prefix, names in (("", self.plain), ("gated-", self.gated)):
      for theirs, ours in names:
        if ours == config.activation:
          return {
            "feed_forward_proj": prefix + theirs,
            "dense_act_fn": theirs,
            "is_gated_act": bool(prefix),
          }
    return {}


@dataclasses.dataclass(frozen=True)
class Readout:
  """Whether T5 reads out by the table that embeds, and at which scale.

  Version 1.0 does both, 1.1 neither. Older files say one key, which the library
  took for both; newer ones say the scale, and have a table of their own where
  there is one.
  """

  table: str = "lm_head.weight"

  def read(self, keys: Keys) -> dict[str, Any]:
    """Whether the readout is tied, and its scale."""
    tied = keys.get("tie_word_embeddings", True)
    scaled = keys.get("scale_decoder_outputs", tied)
    # A table that is tied may be in a file all the same, in those of 1.0.
    own = not scaled and self.table in keys.tensors
    root = float(keys.need("d_model")) ** -0.5
    return {
      "tied": tied and not own,
      "readout_scale": root if scaled else 1.0,
    }

  def write(self, config: EncoderDecoderConfig) -> dict[str, Any]:
    """Both keys."""
    return {
      "tie_word_embeddings": config.tied,
      "scale_decoder_outputs": config.readout_scale != 1,
    }


@dataclasses.dataclass(frozen=True)
class Said:
  """Keys that are written, for the library, and mean nothing to us."""

  values: tuple[tuple[str, Any], ...]

  def read(self, keys: Keys) -> dict[str, Any]:
    """Nothing."""
    del keys
    return {}

  def write(self, config: EncoderDecoderConfig) -> dict[str, Any]:
    """The keys."""
    del config
    return dict(self.values)
