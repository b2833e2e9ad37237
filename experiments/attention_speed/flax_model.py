"""The decoder of the language model, with Flax's own attention module.

As one writes it in Flax: `nnx.MultiHeadAttention`, `nnx.Embed`, `nnx.RMSNorm`,
`nnx.Linear`, a list of blocks, dense masks made by `nnx.make_causal_mask`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax import positions
from attnjax.models import DecoderConfig
from attnjax.training import cross_entropy

__all__ = ["FlaxDecoder", "loss", "make"]


def rotary_attention(query, key, value, **options):
  """`nnx.dot_product_attention` of rotated queries and keys.

  The module offers no place for positions. A rotation is relative, so rows of
  packed documents may count from the beginning of the row.
  """
  at = jnp.arange(query.shape[-3], dtype=jnp.int32)
  query, key = (positions.rotary(x, at) for x in (query, key))
  return nnx.dot_product_attention(query, key, value, **options)


class FlaxBlock(nnx.Module):
  """x + attention(norm(x)), then x + feed_forward(norm(x))."""

  def __init__(self, config: DecoderConfig, rngs: nnx.Rngs):
    width, heads = config.width, config.heads
    # Older versions of Flax have no grouped heads.
    grouped: dict[str, Any] = {}
    if config.kv_heads is not None:
      grouped["num_kv_heads"] = config.kv_heads

    self.attention_norm = nnx.RMSNorm(width, rngs=rngs)
    self.attention = nnx.MultiHeadAttention(
      heads,
      in_features=width,
      qkv_features=heads * (config.head_width or width // heads),
      out_features=width,
      use_bias=False,
      decode=False,
      attention_fn=rotary_attention,
      rngs=rngs,
      **grouped,
    )
    self.feed_forward_norm = nnx.RMSNorm(width, rngs=rngs)
    self.up = nnx.Linear(width, config.hidden, use_bias=False, rngs=rngs)
    self.down = nnx.Linear(config.hidden, width, use_bias=False, rngs=rngs)

  def __call__(self, x, mask):
    """``B T M`` of ``B T M``."""
    x = x + self.attention(self.attention_norm(x), mask=mask)
    hidden = self.up(self.feed_forward_norm(x))
    return x + self.down(jnp.square(jax.nn.relu(hidden)))


class FlaxDecoder(nnx.Module):
  """Embedding, blocks, norm, and the embedding again as the readout."""

  def __init__(self, config: DecoderConfig, vocabulary: int, rngs: nnx.Rngs):
    self.embed = nnx.Embed(vocabulary, config.width, rngs=rngs)
    # One after the other, not stacked and scanned as ours are.
    self.blocks = nnx.List(
      [FlaxBlock(config, rngs) for _ in range(config.depth)]
    )
    self.norm = nnx.RMSNorm(config.width, rngs=rngs)
    self.window = config.window

  def __call__(self, tokens, segment_ids):
    """Logits of the next token at every position."""
    # Dense masks of ``B 1 T T``: `nnx.MultiHeadAttention` takes no others.
    masks = [
      nnx.make_causal_mask(tokens),
      nnx.make_attention_mask(segment_ids, segment_ids, jnp.equal),
    ]
    if self.window is not None:
      at = jnp.arange(tokens.shape[-1])[None]
      near = lambda q, k: q - k <= self.window
      masks.append(nnx.make_attention_mask(at, at, near))
    mask = nnx.combine_masks(*masks)

    x = self.embed(tokens)
    for block in self.blocks:
      x = block(x, mask)
    return self.embed.attend(self.norm(x))


def loss(model: FlaxDecoder, batch: Mapping):
  """Nats per token."""
  logits = model(batch["tokens"], batch["segment_ids"])
  total, weight = cross_entropy(logits, batch["targets"], batch["weights"])
  return total / weight


def make(
  config: DecoderConfig, weights: Mapping[str, np.ndarray]
) -> FlaxDecoder:
  """A model with the parameters that `model.weights_of` returns."""
  vocabulary = weights["embed"].shape[0]
  model = FlaxDecoder(config, vocabulary, nnx.Rngs(0))
  _set(model.embed.embedding, weights["embed"])
  _set(model.norm.scale, weights["norm"])

  for layer, block in enumerate(model.blocks):
    attention = block.attention
    places = {
      "attention_norm": block.attention_norm.scale,
      "query": attention.query.kernel,
      "key": attention.key.kernel,
      "value": attention.value.kernel,
      "output": attention.out.kernel,
      "feed_forward_norm": block.feed_forward_norm.scale,
      "up": block.up.kernel,
      "down": block.down.kernel,
    }
    for name, place in places.items():
      _set(place, weights[name][layer])
  return model


def _set(place: Any, array: np.ndarray) -> None:
  """Writes an array into a parameter."""
  place[...] = jnp.asarray(array)
