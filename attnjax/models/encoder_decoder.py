"""`EncoderDecoder`: an encoder-decoder transformer."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.models.block_stack import (
  make_attention,
  make_block,
  make_feed_forward,
  run_blocks,
)
from attnjax.models.encoded_source import CrossMemory, EncoderDecoderAux
from attnjax.models.encoder_decoder_config import EncoderDecoderConfig
from attnjax.nn import CrossBlock, Embedding
from attnjax.nn.embed import add_positions
from attnjax.nn.norm import make_norm
from attnjax.ops import cache as caches
from attnjax.ops import masks, score_mods
from attnjax.ops import positions as encodings
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.feature_dropout import Dropout
from attnjax.ops.forgotten_tokens import sees_forgotten
from attnjax.ops.recurrent import real_steps
from attnjax.ops.value_checks import poison
from attnjax.typing import Array, Float, Int, Key

__all__ = ["EncoderDecoder", "EncoderDecoderConfig"]

# Numbers of the dropouts, so that each has a mask of its own.
_SOURCE, _TARGET, _ENCODER, _DECODER = 0, 1, 2, 3


class EncoderDecoder(nnx.Module):
  """A pre-norm encoder-decoder transformer with cross-attention.

      memory = norm(encoder(embed(source)))       not causal
      x      = decoder(embed(target), memory)     causal, and over the memory
      logits = readout_scale norm(x) · table

  Relative positions add to each logit a learned number of its head and of the
  distance, the same in all layers, of the encoder and of the decoder; there is
  none over the memory.

  Args:
    config: sizes and choices.
    source_vocabulary: tokens of the source.
    target_vocabulary: V, tokens of the target; None is as many.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if shared=True has two vocabularies.

  >>> import jax.numpy as jnp
  >>> from attnjax.models.encoder_decoder import EncoderDecoderConfig
  >>> from flax import nnx
  >>> config = EncoderDecoderConfig(
  ...   width=8, encoder_depth=1, decoder_depth=1, heads=2, hidden=16)
  >>> model = EncoderDecoder(config, 7, 11, rngs=nnx.Rngs(0))
  >>> source, target = jnp.array([3, 1, 4]), jnp.array([2, 7, 1])
  >>> logits = model(source, target)
  >>> bool((logits[:2] == model(source, target.at[2].set(9))[:2]).all())
  True

  Reference:
    Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762; norms
    before the layers: Xiong et al., 2020, arXiv 2002.04745; relative positions
    and the scaled readout: Raffel et al., "Exploring the Limits of Transfer
    Learning with a Unified Text-to-Text Transformer" (T5), 2019, arXiv
    1910.10683.
  """

  def __init__(
    self,
    config: EncoderDecoderConfig,
    source_vocabulary: int,
    target_vocabulary: int | None = None,
    *,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    if target_vocabulary is None:
      target_vocabulary = source_vocabulary
    if config.shared and source_vocabulary != target_vocabulary:
      raise ValueError(
        "EncoderDecoder: shared=True embeds both by one table, which needs one"
        f" vocabulary, got {source_vocabulary} and {target_vocabulary} tokens"
      )

    self.config, self.vocabulary = config, target_vocabulary
    self.source_vocabulary = source_vocabulary
    table = lambda rows: Embedding(rows, config.width, rngs=rngs)
    norm = lambda: make_norm(
      config.norm, config.width, config.use_bias, rngs, epsilon=config.epsilon
    )
    self.target_embed = table(target_vocabulary)
    self.source_embed = None if config.shared else table(source_vocabulary)
    learned = config.positions == "learned"
    self.source_places = table(config.max_length) if learned else None
    self.target_places = table(config.max_length) if learned else None

    self.encoder, self.decoder = _make_stacks(config, attend, rngs)
    self.encoder_norm, self.decoder_norm = norm(), norm()
    self.readout = None if config.tied else table(target_vocabulary)
    relative = config.positions == "relative"
    bias = lambda: Embedding(config.buckets, config.heads, rngs=rngs)
    self.encoder_bias = bias() if relative else None
    self.decoder_bias = bias() if relative else None

  def __call__(
    self,
    source: Int[Array, "*B S"],
    target: Int[Array, "*B T"],
    *,
    source_lengths: Int[Array, "*B"] | None = None,
    dropout_key: Key[Array, ""] | None = None,
    aux: tuple[str, ...] = (),
  ):
    """Logits of the token after each target token: teacher forcing.

    Args:
      source: int ``*B S``; padding may hold any id.
      target: int ``*B T``, the input of the decoder, a start token first;
        padding at the end may be any token of the vocabulary.
      source_lengths: int ``*B``; None is S.
      dropout_key: of a training step; None is no dropout.
      aux: what to return of every attention, as in `attnjax.attend`.

    Returns:
      float32 ``*B T V``; with `aux`, a pair with an `EncoderDecoderAux`.
    """
    drop = Dropout(self.config.dropout, dropout_key)
    memory, seen = self._encode(source, source_lengths, drop, aux)
    places = jnp.arange(target.shape[-1], dtype=jnp.int32)
    x = self._embed(self.target_embed, self.target_places, target, places)

    # Scanned along with the blocks: keys and values of the memory per layer.
    # One random stream a layer, for a scan runs the same code for all of them.
    inner = drop.of(_DECODER).split(self.config.decoder_depth)

    def layer(x, scanned):
      block, key, value, drop = scanned
      result = block(
        x,
        key,
        value,
        mask=masks.causal(),
        score_mod=self._bias(self.decoder_bias),
        memory_mask=memory.mask,
        drop=drop,
        aux=aux,
      )
      return (result[0], result[1:]) if aux else (result, None)

    x, kept = jax.lax.scan(
      layer,
      drop(x, _TARGET),
      (self.decoder, memory.key, memory.value, inner),
      unroll=self.config.unroll,
    )

    logits = self._read_out(x)
    return (logits, EncoderDecoderAux(seen, *kept)) if aux else logits

  def encode(
    self,
    source: Int[Array, "*B S"],
    lengths: Int[Array, "*B"] | None = None,
    *,
    dropout_key: Key[Array, ""] | None = None,
  ) -> CrossMemory:
    """Keys and values of the source for every layer; see `__call__`."""
    drop = Dropout(self.config.dropout, dropout_key)
    return self._encode(source, lengths, drop, ())[0]

  def init_state(
    self, memory: CrossMemory, capacity: int
  ) -> caches.KeyValueCache:
    """Empty caches of all layers, for `capacity` target tokens."""
    _check_room(self.target_places, capacity)
    depth, *batch, _, heads, width = memory.key.shape
    return caches.init(
      (depth, *batch), capacity, heads, width, dtype=memory.key.dtype
    )

  def decode(
    self,
    memory: CrossMemory,
    cache: caches.KeyValueCache,
    tokens: Int[Array, "*B T"],
  ) -> tuple[Float[Array, "*B T V"], caches.KeyValueCache]:
    """(logits of new target tokens, new cache)."""
    first = jax.tree.map(lambda x: x[0], cache)
    # Checked before the scan, in which lengths are traced.
    caches.overflows(first, tokens.shape[-1])
    sees_forgotten(
      masks.causal(), first.length, first.forgotten, tokens.shape[-1]
    )
    places = first.next_positions(tokens.shape[-1])
    x = self._embed(self.target_embed, self.target_places, tokens, places)

    def layer(x, scanned):
      block, cache, key, value = scanned
      return block.decode(
        x,
        cache,
        key,
        value,
        memory_mask=memory.mask,
        score_mod=self._bias(self.decoder_bias),
      )

    blocks = (self.decoder, cache, memory.key, memory.value)
    x, cache = jax.lax.scan(layer, x, blocks)
    return self._read_out(x), cache

  def step(
    self,
    memory: CrossMemory,
    state: caches.KeyValueCache,
    tokens: Int[Array, "*B"],
  ) -> tuple[Float[Array, "*B V"], caches.KeyValueCache]:
    """(logits of the next token, new state), as `NextToken` calls it."""
    logits, state = self.decode(memory, state, tokens[..., None])
    return logits[..., 0, :], state

  def _encode(self, source, lengths, drop, aux):
    """(memory, `Aux` of the encoder or None) of a source."""
    table = self.target_embed if self.config.shared else self.source_embed
    count = source.shape[-1]
    real, wrong = real_steps(lengths, source.shape[:-1], count)
    if wrong is not None:  # poisoned below, so any valid length will do
      lengths = jnp.where(wrong, count, lengths)

    places = jnp.arange(count, dtype=jnp.int32)
    x = self._embed(table, self.source_places, source, places)
    # A padding id may embed to NaN, and a weight of 0 times NaN is NaN.
    x = x if real is None else jnp.where(real[..., None], x, 0)
    x = poison(x, wrong)

    x, extra = run_blocks(
      self.encoder,
      drop(x, _SOURCE),
      drop.of(_ENCODER),
      self.config.unroll,
      mask=None if real is None else masks.lengths(key=lengths),
      score_mod=self._bias(self.encoder_bias),
      aux=aux,
    )
    x = self.encoder_norm(x)

    # Each decoder layer has its own projections of the memory.
    project = lambda block: block.cross_attention.project_memory(x)
    key, value = jax.vmap(project)(self.decoder)
    return CrossMemory(key, value, lengths), extra

  def _embed(self, table, learned, tokens, places):
    """Token embeddings plus position encodings."""
    _check_room(learned, tokens.shape[-1])
    return add_positions(table(tokens), places, self.config.positions, learned)

  def _bias(self, table) -> score_mods.ScoreMod | None:
    """The bias of relative positions, if there is one."""
    if table is None:
      return None
    return score_mods.relative_bias(
      table.embedding[...],
      bidirectional=table is self.encoder_bias,
      max_distance=self.config.max_distance,
    )

  def _read_out(self, x):
    """Logits of the last block's output, in float32 or wider."""
    table = self.target_embed if self.readout is None else self.readout
    x, scale = self.decoder_norm(x), self.config.readout_scale
    return table.logits(x if scale == 1 else x * jnp.asarray(scale, x.dtype))


def _make_stacks(
  config: EncoderDecoderConfig, attend: Callable, rngs: nnx.Rngs
):
  """(encoder, decoder): blocks stacked along a leading axis."""
  rotary = encodings.Rotary() if config.positions == "rotary" else None
  options: dict[str, Any] = {
    "head_width": config.head_width,
    "scale": config.scale,
  }

  def encoder_block(key):
    return make_block(
      config,
      config.encoder_depth,
      attend,
      nnx.Rngs(key),
      epsilon=config.epsilon,
      position_encoding=rotary,
      **options,
    )

  # A decoder block has three residual additions: two attentions, feed-forward.
  additions = 3 * config.decoder_depth
  attention = lambda rngs, **more: make_attention(
    config, additions, attend, rngs, **options, **more
  )

  def decoder_block(key):
    rngs = nnx.Rngs(key)
    return CrossBlock(
      attention(rngs, position_encoding=rotary),
      # No rotation: positions of source and target are not comparable.
      attention(rngs),
      make_feed_forward(config, additions, rngs),
      width=config.width,
      norm=config.norm,
      use_bias=config.use_bias,
      epsilon=config.epsilon,
      rngs=rngs,
    )

  keys = jax.random.split(rngs.params(), config.encoder_depth)
  encoder = jax.vmap(encoder_block)(keys)
  keys = jax.random.split(rngs.params(), config.decoder_depth)
  return encoder, jax.vmap(decoder_block)(keys)


def _check_room(table: Embedding | None, count: int) -> None:
  """Raises ValueError if learned positions are fewer than the tokens."""
  if table is not None and count > table.embedding.shape[0]:
    raise ValueError(
      f"EncoderDecoder: {count} tokens outgrow the {table.embedding.shape[0]}"
      " learned positions; raise max_length, or take another kind"
    )
