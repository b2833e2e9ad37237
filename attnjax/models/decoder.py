"""`DecoderLM`: a decoder-only transformer language model."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.config import Config, setting
from attnjax.models.block_stack import (
  block_setting,
  check_heads,
  make_block,
)
from attnjax.nn import Embedding, with_attend
from attnjax.nn.embed import add_positions
from attnjax.nn.norm import make_norm
from attnjax.ops import cache as caches
from attnjax.ops import masks, score_mods
from attnjax.ops import positions as encodings
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.forgotten_tokens import sees_forgotten
from attnjax.typing import Array, Bool, DTypeLike, Float, Int

__all__ = ["DecoderConfig", "DecoderLM", "decoder_parameters", "total"]

POSITIONS = ("rotary", "learned", "sinusoidal", "alibi", "none")


@dataclasses.dataclass(frozen=True)
class DecoderConfig(Config):
  """Sizes and choices of a `DecoderLM`."""

  width: int = block_setting("width", 256)
  depth: int = block_setting("depth", 4)
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
  hidden: int = block_setting("hidden", 1024)
  activation: str = block_setting("activation", "gelu")
  norm: str = block_setting("norm", "rms")
  use_bias: bool = block_setting("use_bias", False)
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
  unroll: int = block_setting("unroll", 1)

  def __post_init__(self):
    super().__post_init__()
    if self.head_width is None:
      check_heads(self, ", or give head_width")
    # K = H is multi-head attention, K = 1 multi-query, else grouped-query.
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


class DecoderLM(nnx.Module):
  """A pre-norm decoder-only transformer language model.

      x      = embed(tokens) [+ position]
      x      = block[l](x), l = 0 .. L-1, causal
      logits = norm(x) · table

  The layers are stacked along a leading axis and scanned, so that compile time
  does not grow with depth.

  Args:
    config: sizes and choices.
    vocabulary: V, tokens.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if heads do not divide the width, or an option is unknown.

  Logits do not depend on later tokens:

  >>> import jax.numpy as jnp
  >>> from attnjax.models.decoder import DecoderConfig
  >>> from flax import nnx
  >>> model = DecoderLM(
  ...   DecoderConfig(width=8, depth=2, heads=2, hidden=16), 11,
  ...   rngs=nnx.Rngs(0))
  >>> first, second = jnp.array([3, 1, 4]), jnp.array([3, 1, 5])
  >>> bool((model(first)[:2] == model(second)[:2]).all())
  True

  Reference:
    Radford et al., "Language Models are Unsupervised Multitask Learners", 2019;
    Brown et al., "Language Models are Few-Shot Learners", 2020, arXiv
    2005.14165.
  """

  # Read by `generate`: rows of a prompt may differ in length.
  ragged = True

  def __init__(
    self,
    config: DecoderConfig,
    vocabulary: int,
    *,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    self.config = config
    self.vocabulary = vocabulary
    table = lambda rows: Embedding(rows, config.width, rngs=rngs)
    self.embed = table(vocabulary)
    learned = config.positions == "learned"
    self.position_table = table(config.max_length) if learned else None

    rotary = encodings.Rotary() if config.positions == "rotary" else None
    block = lambda key: make_block(
      config,
      config.depth,
      attend,
      nnx.Rngs(key),
      position_encoding=rotary,
      kv_heads=config.kv_heads,
      head_width=config.head_width,
    )

    # Stacked parameters, so that a scan compiles one block whatever the depth.
    keys = jax.random.split(rngs.params(), config.depth)
    self.blocks = jax.vmap(block)(keys)
    self.norm = make_norm(config.norm, config.width, config.use_bias, rngs)
    self.readout = None if config.tied else table(vocabulary)

  def __call__(
    self,
    tokens: Int[Array, "*B T"],
    *,
    positions: Int[Array | np.ndarray, "*B T"] | None = None,
    segment_ids: Int[Array, "*B T"] | None = None,
    mask: masks.Mask | Bool[Array | np.ndarray, "..."] | None = None,
    aux: tuple[str, ...] = (),
  ):
    """Logits of the next token at every position.

    Args:
      tokens: int ``*B T``, in [0, V); another id makes its row NaN.
      positions: int ``*B T``; None is 0, 1, 2...
      segment_ids: int ``*B T``; packed documents do not see each other.
      mask: a mask, or a bool array that broadcasts to ``*B H T S``; None is
        causal, within the window of the config.
      aux: what to keep of every attention, as in `attnjax.attend`.

    Returns:
      float32 ``*B T V``; with `aux`, a pair with an `Aux` whose arrays have a
      leading layer axis ``L``.
    """
    if positions is None:
      # numpy, so that a sharded attention knows their values under `jit`.
      positions = np.arange(tokens.shape[-1], dtype=np.int32)
    attend_kw = {
      "mask": self._mask() if mask is None else mask,
      "positions": positions,
      "query_segment_ids": segment_ids,
      "key_segment_ids": segment_ids,
      "score_mod": self._score_mod(),
      "aux": aux,
    }

    def layer(x, block):
      result = block(x, **attend_kw)
      return result if isinstance(result, tuple) else (result, None)

    # By block: the scan then saves only the residual stream between blocks.
    body = jax.checkpoint(layer) if self.config.remat else layer

    x, extra = jax.lax.scan(
      body,
      self._embed(tokens, positions),
      self.blocks,
      unroll=self.config.unroll,
    )
    logits = self._read_out(x)
    return (logits, extra) if aux else logits

  def with_attend(self, attend: Callable) -> "DecoderLM":
    """The same parameters in a decoder that calls another attention."""
    return with_attend(self, attend)

  def init_cache(
    self,
    batch: tuple[int, ...],
    capacity: int,
    dtype: DTypeLike = jnp.float32,
  ) -> caches.KeyValueCache:
    """An empty cache of every layer, stacked as the layers are."""
    # Sizes by the parameters and not by the config: with K key/value heads and
    # a `head_width` the defaults are resolved there.
    kernel = self.blocks.attention.key.kernel
    depth, _, heads, width = kernel.shape
    return caches.init((depth, *batch), capacity, heads, width, dtype=dtype)

  def decode(
    self,
    tokens: Int[Array, "*B T"],
    cache: caches.KeyValueCache,
    *,
    lengths: Int[Array, "*B"] | None = None,
  ) -> tuple[Float[Array, "*B T V"], caches.KeyValueCache]:
    """Logits of new tokens after those in the cache.

    Args:
      tokens: int ``*B T``, a prompt or one token.
      cache: from `init_cache`, or from the call before.
      lengths: int ``*B``, how many of the T are not padding; None is all.

    Returns:
      Logits ``*B T V`` and the cache with the new tokens.

    Raises:
      ValueError: if the tokens do not fit the cache, or the mask shows
        tokens that it has rolled over; where that is known at run time only,
        rows are NaN.
    """
    first, count = jax.tree.map(lambda x: x[0], cache), tokens.shape[-1]
    # Checked before the scan, in which lengths are traced.
    caches.overflows(first, count if lengths is None else lengths)
    sees_forgotten(
      self._mask(), first.length, first.forgotten, count, lengths=lengths
    )
    positions = first.next_positions(count)

    def layer(x, block_and_cache):
      block, cache = block_and_cache
      return block.decode(
        x,
        cache,
        lengths=lengths,
        mask=self._mask(),
        score_mod=self._score_mod(),
      )

    x = self._embed(tokens, positions)
    x, cache = jax.lax.scan(layer, x, (self.blocks, cache))
    return self._read_out(x), cache

  def _embed(self, tokens, positions):
    """Token embeddings plus position encodings."""
    kind, table = self.config.positions, self.position_table
    return add_positions(self.embed(tokens), positions, kind, table)

  def _mask(self):
    """Causal, within the window of the config."""
    if self.config.window is None:
      return masks.causal()
    return masks.sliding_window(self.config.window)

  def _score_mod(self):
    """ALiBi, or None for other kinds of positions."""
    if self.config.positions != "alibi":
      return None
    return score_mods.alibi(encodings.alibi_slopes(self.config.heads))

  def _read_out(self, x):
    """Logits of the last block's output, in float32 or wider."""
    table = self.embed if self.readout is None else self.readout
    return table.logits(self.norm(x))


def decoder_parameters(
  config: DecoderConfig, vocabulary: int
) -> dict[str, int]:
  """Number of parameters of a `DecoderLM`, by part.

      attention    = L (M H D + 2 M K D + H D M)
      feed-forward = L n M F, n = 3 for swiglu and 2 else
      embedding    = V M, and as much again for a readout of its own

  Args:
    config: of the decoder.
    vocabulary: V.

  Returns:
    Counts by name: embedding, readout, attention, feed_forward, and the small
    parts: positions, biases, norms.

  GPT-3 as published counts matrices alone:

  >>> from attnjax.models.decoder import DecoderConfig
  >>> gpt3 = DecoderConfig(width=12288, depth=96, heads=96, hidden=49152,
  ...   norm="layer", use_bias=True, positions="learned", tied=False)
  >>> parts = decoder_parameters(gpt3, 50257)
  >>> matrices = "embedding", "readout", "attention", "feed_forward"
  >>> sum(parts[name] for name in matrices)
  175181291520

  Reference:
    Brown et al., "Language Models are Few-Shot Learners", 2020, arXiv
    2005.14165, table 2.1; the count: 3Blue1Brown, "Attention in transformers,
    step-by-step", 2024.
  """
  m, f, depth = config.width, config.hidden, config.depth
  h = config.heads
  k = h if config.kv_heads is None else config.kv_heads
  d = m // h if config.head_width is None else config.head_width
  maps = 3 if config.activation == "swiglu" else 2
  learned = config.positions == "learned"

  # Biases of queries, keys and values, output, the maps up, and the map down.
  per_block_bias = h * d + 2 * k * d + m + (maps - 1) * f + m
  norm = m * (2 if config.norm == "layer" and config.use_bias else 1)
  return {
    "embedding": vocabulary * m,
    "readout": 0 if config.tied else vocabulary * m,
    "attention": depth * (2 * m * h * d + 2 * m * k * d),
    "feed_forward": depth * maps * m * f,
    "positions": config.max_length * m if learned else 0,
    "biases": depth * per_block_bias if config.use_bias else 0,
    # Two a block, and the one before the readout.
    "norms": (2 * depth + 1) * norm,
  }


def total(parts: dict[str, int]) -> int:
  """The sum of the counts of `decoder_parameters`.

  >>> total({"embedding": 3, "norms": 2})
  5
  """
  return sum(parts.values())
