"""Sizes and choices of an encoder-decoder transformer."""

import dataclasses

from attnjax.config import Config, setting

__all__ = ["EncoderDecoderConfig"]

POSITIONS = ("rotary", "learned", "sinusoidal", "none")


@dataclasses.dataclass(frozen=True)
class EncoderDecoderConfig(Config):
  """Sizes and choices of an `EncoderDecoder`."""

  width: int = setting(256, "model width M, features", at_least=1)
  encoder_depth: int = setting(3, "blocks of the encoder", at_least=1)
  decoder_depth: int = setting(3, "blocks of the decoder", at_least=1)
  heads: int = setting(4, "heads H of a block; divide the width", at_least=1)
  hidden: int = setting(
    1024, "features F between the feed-forward maps", at_least=1
  )
  activation: str = setting(
    "gelu",
    "feed-forward nonlinearity",
    choices=("gelu", "relu", "squared_relu", "swiglu"),
  )
  norm: str = setting("rms", "normalisation", choices=("rms", "layer"))
  use_bias: bool = setting(False, "biases in every linear map and layer norm")
  positions: str = setting(
    "rotary", "how the model knows positions", choices=POSITIONS
  )
  max_length: int = setting(
    512,
    "positions that learned tables hold; no other kind has a limit",
    at_least=1,
  )
  shared: bool = setting(False, "one table embeds both source and target")
  tied: bool = setting(True, "read out by the table that embeds the target")
  dropout: float = setting(
    0.1,
    "share of the features dropped in training, in [0, 1)",
    at_least=0,
    below=1,
  )
  unroll: int = setting(
    1,
    "blocks in one turn of the scan; more runs faster, compiles slower",
    at_least=1,
  )

  def __post_init__(self):
    super().__post_init__()
    if self.width % self.heads:
      raise ValueError(
        f"model: heads={self.heads} must divide width={self.width}; choose"
        " another number of heads"
      )
    turned = {"rotary": self.width // self.heads, "sinusoidal": self.width}
    if turned.get(self.positions, 0) % 2:
      raise ValueError(
        f"model: {self.positions} positions have pairs of features, so their"
        f" width must be even, got {turned[self.positions]}"
      )
