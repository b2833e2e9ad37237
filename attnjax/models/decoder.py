"""A decoder language model: the next token of every position at once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.models.decoder_block import POSITIONS, DecoderConfig, make_block
from attnjax.nn import Embedding, with_attend
from attnjax.nn.norm import make_norm
from attnjax.ops import cache as caches
from attnjax.ops import masks, score_mods
from attnjax.ops import positions as encodings
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.forgotten_tokens import sees_forgotten
from attnjax.typing import Array, Bool, DTypeLike, Float, Int

__all__ = ["DecoderConfig", "DecoderLM"]


class DecoderLM(nnx.Module):
  """A pre-norm decoder: embed, L blocks, norm, read out.

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

  Nothing that comes later changes what is said of now:

  >>> import jax.numpy as jnp
  >>> from attnjax.models.decoder_block import DecoderConfig
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

  ragged = True  # rows of a prompt may differ in length

  def __init__(
    self,
    config: DecoderConfig,
    vocabulary: int,
    *,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    if config.positions not in POSITIONS:
      raise ValueError(
        f"DecoderLM: positions must be one of {POSITIONS}, got"
        f" {config.positions!r}"
      )
    self.config = config
    self.vocabulary = vocabulary
    table = lambda rows: Embedding(rows, config.width, rngs=rngs)
    self.embed = table(vocabulary)
    learned = config.positions == "learned"
    self.position_table = table(config.max_length) if learned else None
    block = lambda key: make_block(config, attend, nnx.Rngs(key))
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
      # Of numpy: a sharded attention knows them while a step is traced.
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
    """Logits of new tokens, given all that the cache has read.

    Args:
      tokens: int ``*B T``, a prompt or one token.
      cache: from `init_cache`, or from the call before.
      lengths: int ``*B``, how many of the T are real; None is all.

    Returns:
      Logits ``*B T V`` and the cache that holds the new tokens too.

    Raises:
      ValueError: if the tokens do not fit the cache, or the model looks at some
        that it has forgotten; rows where that is not known yet are NaN.
    """
    first, count = jax.tree.map(lambda x: x[0], cache), tokens.shape[-1]
    # The scan below would trace the length, and could not say no.
    caches.overflows(first, count if lengths is None else lengths)
    sees_forgotten(
      self._mask(), first.length, first.forgotten, count, lengths=lengths
    )
    positions = first.next_positions(count)

    def layer(x, block_and_cache):
      block, held = block_and_cache
      return block.decode(
        x,
        held,
        lengths=lengths,
        mask=self._mask(),
        score_mod=self._score_mod(),
      )

    x = self._embed(tokens, positions)
    x, cache = jax.lax.scan(layer, x, (self.blocks, cache))
    return self._read_out(x), cache

  def _embed(self, tokens, positions):
    """Token embeddings, and what is added to them of the position."""
    x = self.embed(tokens)
    if self.position_table is not None:
      code = self.position_table(jnp.asarray(positions))
    elif self.config.positions == "sinusoidal":
      # The table is unit-sized, embeddings start small: bring them to scale.
      code = encodings.sinusoidal(positions, self.config.width)
      code = code * self.config.width**-0.5
    else:
      return x
    code = code.reshape((1,) * (x.ndim - code.ndim) + code.shape)
    return x + code.astype(x.dtype)

  def _mask(self):
    """Causal, and no further back than the window."""
    if self.config.window is None:
      return masks.causal()
    return masks.sliding_window(self.config.window)

  def _score_mod(self):
    """ALiBi, where it is how the model knows positions."""
    if self.config.positions != "alibi":
      return None
    return score_mods.alibi(encodings.alibi_slopes(self.config.heads))

  def _read_out(self, x):
    """Logits in float32 of the last block's output."""
    table = self.embed if self.readout is None else self.readout
    return table.logits(self.norm(x))
