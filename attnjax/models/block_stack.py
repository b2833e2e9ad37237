"""Stacked transformer blocks of a config, and the scan over them."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from attnjax.nn import FeedForward, MultiHeadAttention, TransformerBlock
from attnjax.nn.transformer_block import CrossBlock
from attnjax.ops import positions as encodings
from attnjax.ops.feature_dropout import Dropout

__all__ = ["make_block", "make_stacks", "run_blocks"]


def _output_init(additions: int):
  """Each block adds to x; this keeps its variance from growing with depth."""
  return jax.nn.initializers.variance_scaling(1 / additions, "fan_in", "normal")


def make_attention(
  config: Any,
  additions: int,
  attend: Callable,
  rngs: nnx.Rngs,
  *,
  position_encoding: Callable | None = None,
) -> MultiHeadAttention:
  """Attention of the sizes of a config, one of so many additions to x."""
  return MultiHeadAttention(
    config.width,
    config.heads,
    use_bias=config.use_bias,
    position_encoding=position_encoding,
    attend=attend,
    output_init=_output_init(additions),
    rngs=rngs,
  )


def make_feed_forward(
  config: Any, additions: int, rngs: nnx.Rngs
) -> FeedForward:
  """A feed-forward layer of the sizes of a config."""
  return FeedForward(
    config.width,
    config.hidden,
    activation=config.activation,
    use_bias=config.use_bias,
    output_init=_output_init(additions),
    rngs=rngs,
  )


def make_block(
  config: Any,
  depth: int,
  attend: Callable,
  rngs: nnx.Rngs,
  *,
  position_encoding: Callable | None = None,
) -> TransformerBlock:
  """One self-attention block of a stack of `depth`."""
  return TransformerBlock(
    make_attention(
      config, 2 * depth, attend, rngs, position_encoding=position_encoding
    ),
    make_feed_forward(config, 2 * depth, rngs),
    width=config.width,
    norm=config.norm,
    use_bias=config.use_bias,
    rngs=rngs,
  )


def make_stacks(config: Any, attend: Callable, rngs: nnx.Rngs):
  """The blocks of an encoder and of a decoder, stacked along a leading axis."""
  rotary = encodings.Rotary() if config.positions == "rotary" else None
  deep = config.decoder_depth
  attention = functools.partial(make_attention, config, 3 * deep, attend)

  def encoder_block(key):
    return make_block(
      config,
      config.encoder_depth,
      attend,
      nnx.Rngs(key),
      position_encoding=rotary,
    )

  def decoder_block(key):
    rngs = nnx.Rngs(key)
    return CrossBlock(
      attention(rngs, position_encoding=rotary),
      attention(rngs),
      make_feed_forward(config, 3 * deep, rngs),
      width=config.width,
      norm=config.norm,
      use_bias=config.use_bias,
      rngs=rngs,
    )

  keys = jax.random.split(rngs.params(), config.encoder_depth)
  encoder = jax.vmap(encoder_block)(keys)
  keys = jax.random.split(rngs.params(), config.decoder_depth)
  return encoder, jax.vmap(decoder_block)(keys)


def run_blocks(blocks, x, drop: Dropout, unroll: int, **attend_kw):
  """All blocks one after the other: x, and what ``aux=`` keeps, stacked."""
  depth = jax.tree.leaves(blocks)[0].shape[0]

  def layer(x, block_and_drop):
    block, drop = block_and_drop
    result = block(x, drop=drop, **attend_kw)
    return result if isinstance(result, tuple) else (result, None)

  return jax.lax.scan(layer, x, (blocks, drop.split(depth)), unroll=unroll)
