"""Sizes and choices of a decoder, and one block made by them."""

import dataclasses
from collections.abc import Callable

import jax
from flax import nnx

from attnjax.config import Config, setting
from attnjax.nn import FeedForward, MultiHeadAttention, TransformerBlock
from attnjax.ops import positions as encodings

__all__ = ["POSITIONS", "DecoderConfig", "make_block"]

POSITIONS = ("rotary", "learned", "sinusoidal", "alibi", "none")


@dataclasses.dataclass(frozen=True)
class DecoderConfig(Config):
  """Sizes and choices of a `DecoderLM`."""

  width: int = setting(256, "model width M, features", at_least=1)
  depth: int = setting(4, "transformer blocks L", at_least=1)
  heads: int = setting(
    4, "query heads H of a block; divide the width", at_least=1
  )
  kv_heads: int | None = setting(
    None, "key/value heads K, a divisor of the heads; none: as many", at_least=1
  )
  head_width: int | None = setting(
    None,
    "width D of a query and a key, features; none: width / heads",
    at_least=1,
  )
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
  window: int | None = setting(
    None, "positions before its own that a query sees; none: all", at_least=0
  )
  max_length: int = setting(
    2048,
    "positions that a learned table holds; no other kind has a limit",
    at_least=1,
  )
  tied: bool = setting(True, "read out by the table that embeds")
  remat: bool = setting(
    False, "recompute a block's activations in the backward pass"
  )
  unroll: int = setting(
    1,
    "blocks in one turn of the scan; more runs faster, compiles slower",
    at_least=1,
  )

  def __post_init__(self):
    super().__post_init__()
    if self.head_width is None and self.width % self.heads:
      raise ValueError(
        f"model: heads={self.heads} must divide width={self.width}; choose"
        " another number of heads, or give head_width"
      )
    if self.kv_heads is not None and self.heads % self.kv_heads:
      raise ValueError(
        f"model: kv_heads={self.kv_heads} must divide heads={self.heads}"
      )
    head_width = self.head_width or self.width // self.heads
    if self.positions == "rotary" and head_width % 2:
      raise ValueError(
        f"model: rotary positions turn pairs of features, so the width of a"
        f" head must be even, got {head_width}"
      )


def make_block(
  config: DecoderConfig, attend: Callable, rngs: nnx.Rngs
) -> TransformerBlock:
  """One block of the stack."""
  # Each block adds twice to x; this keeps its variance from growing with depth.
  output_init = jax.nn.initializers.variance_scaling(
    1 / (2 * config.depth), "fan_in", "normal"
  )
  rotary = config.positions == "rotary"
  attention = MultiHeadAttention(
    config.width,
    config.heads,
    kv_heads=config.kv_heads,
    head_width=config.head_width,
    use_bias=config.use_bias,
    position_encoding=encodings.Rotary() if rotary else None,
    attend=attend,
    output_init=output_init,
    rngs=rngs,
  )
  feed_forward = FeedForward(
    config.width,
    config.hidden,
    activation=config.activation,
    use_bias=config.use_bias,
    output_init=output_init,
    rngs=rngs,
  )
  return TransformerBlock(
    attention,
    feed_forward,
    width=config.width,
    norm=config.norm,
    use_bias=config.use_bias,
    rngs=rngs,
  )
