"""Sizes and choices of an `EncoderDecoder`."""

import dataclasses

from attnjax.config import Config, setting
from attnjax.models.block_stack import block_setting, check_heads
from attnjax.ops.activations import ACTIVATIONS
from attnjax.ops.relative_positions import check_buckets

__all__ = ["EncoderDecoderConfig"]

POSITIONS = ("rotary", "learned", "sinusoidal", "relative", "none")


@dataclasses.dataclass(frozen=True)
class EncoderDecoderConfig(Config):
  """Sizes and choices of an `EncoderDecoder`."""

  width: int = block_setting("width", 256)
  encoder_depth: int = setting(3, "blocks of the encoder", at_least=1)
  decoder_depth: int = setting(3, "blocks of the decoder", at_least=1)
  heads: int = block_setting("heads", 4)
  head_width: int | None = setting(
    None,
    "width D of a query and a key, features; none: width / heads",
    at_least=1,
  )
  hidden: int = block_setting("hidden", 1024)
  activation: str = setting(
    "gelu", "feed-forward nonlinearity", choices=ACTIVATIONS
  )
  norm: str = block_setting("norm", "rms")
  epsilon: float = setting(
    1e-6, "added to the mean square or the variance in norms", above=0
  )
  scale: float | None = setting(
    None, "of the logits q · k; none: 1 / sqrt(head width)", above=0
  )
  use_bias: bool = block_setting("use_bias", False)
  positions: str = setting(
    "rotary", "how the model knows positions", choices=POSITIONS
  )
  max_length: int = setting(
    512,
    "positions that learned tables hold; no other kind has a limit",
    at_least=1,
  )
  buckets: int = setting(
    32, "buckets of distances, of relative positions", at_least=4
  )
  max_distance: int = setting(
    128,
    "of relative positions: distances from it on share a bucket, tokens",
    at_least=2,
  )
  shared: bool = setting(False, "one table embeds both source and target")
  tied: bool = setting(True, "read out by the table that embeds the target")
  readout_scale: float = setting(
    1.0, "features are multiplied by it before they are read out", above=0
  )
  dropout: float = block_setting("dropout", 0.1)
  unroll: int = block_setting("unroll", 1)

  def __post_init__(self):
    super().__post_init__()
    if self.head_width is None:
      check_heads(self, ", or give head_width")
    head_width = self.head_width or self.width // self.heads
    paired = {"rotary": head_width, "sinusoidal": self.width}
    if self.positions == "relative":
      for bidirectional in (True, False):
        check_buckets(self.buckets, bidirectional, self.max_distance)
    if paired.get(self.positions, 0) % 2:
      raise ValueError(
        f"model: {self.positions} positions have pairs of features, so their"
        f" width must be even, got {paired[self.positions]}"
      )
