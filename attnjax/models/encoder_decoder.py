"""An encoder-decoder transformer."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.models.block_stack import make_stacks, run_blocks
from attnjax.models.encoder_decoder_config import EncoderDecoderConfig
from attnjax.models.memory import CrossMemory, EncoderDecoderAux
from attnjax.nn import Embedding
from attnjax.nn.norm import make_norm
from attnjax.ops import cache as caches
from attnjax.ops import masks
from attnjax.ops import positions as encodings
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.feature_dropout import Dropout
from attnjax.ops.forgotten_tokens import sees_forgotten
from attnjax.ops.known import poison
from attnjax.ops.recurrent import real_steps
from attnjax.typing import Array, Float, Int, Key

__all__ = ["EncoderDecoder", "EncoderDecoderConfig"]

# Where in the network something is dropped.
_SOURCE, _TARGET, _ENCODER, _DECODER = 0, 1, 2, 3


class EncoderDecoder(nnx.Module):
  """A pre-norm encoder, and a decoder that reads it at every layer.

      memory = norm(encoder(embed(source)))       every token sees every token
      x      = decoder(embed(target), memory)     causal, and over the memory
      logits = norm(x) · table

  Args:
    config: sizes and choices.
    source_vocabulary: tokens of the source.
    target_vocabulary: V, tokens of the target.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: from the config; or if one table is to embed two vocabularies.

  >>> import jax.numpy as jnp
  >>> from attnjax.models.encoder_decoder_config import EncoderDecoderConfig
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
    before the layers: Xiong et al., 2020, arXiv 2002.04745.
  """

  def __init__(
    self,
    config: EncoderDecoderConfig,
    source_vocabulary: int,
    target_vocabulary: int,
    *,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    if config.shared and source_vocabulary != target_vocabulary:
      raise ValueError(
        "EncoderDecoder: shared=True embeds both by one table, which needs one"
        f" vocabulary, got {source_vocabulary} and {target_vocabulary} tokens"
      )
    self.config, self.vocabulary = config, target_vocabulary
    table = lambda rows: Embedding(rows, config.width, rngs=rngs)
    norm = lambda: make_norm(config.norm, config.width, config.use_bias, rngs)
    self.target_embed = table(target_vocabulary)
    self.source_embed = None if config.shared else table(source_vocabulary)
    learned = config.positions == "learned"
    self.source_places = table(config.max_length) if learned else None
    self.target_places = table(config.max_length) if learned else None
    self.encoder, self.decoder = make_stacks(config, attend, rngs)
    self.encoder_norm, self.decoder_norm = norm(), norm()
    self.readout = None if config.tied else table(target_vocabulary)

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
      source: int ``*B S``; beyond its length a row may hold anything.
      target: int ``*B T``, what the decoder reads, a start token first; padding
        at the end may be any token of the vocabulary.
      source_lengths: int ``*B``; None is S.
      dropout_key: of a training step; None drops nothing.
      aux: what to keep of every attention, as in `attnjax.attend`.

    Returns:
      float32 ``*B T V``; with `aux`, a pair with an `EncoderDecoderAux`.
    """
    drop = Dropout(self.config.dropout, dropout_key)
    memory, seen = self._encode(source, source_lengths, drop, aux)
    places = jnp.arange(target.shape[-1], dtype=jnp.int32)
    x = self._embed(self.target_embed, self.target_places, target, places)
    # The keys and values of each layer's memory are one more scanned input.
    inner = drop.of(_DECODER).split(self.config.decoder_depth)

    def layer(x, given):
      block, key, value, drop = given
      result = block(
        x,
        key,
        value,
        mask=masks.causal(),
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
    """What the decoder may read of the source; see `__call__`."""
    drop = Dropout(self.config.dropout, dropout_key)
    return self._encode(source, lengths, drop, ())[0]

  def init_state(
    self, memory: CrossMemory, capacity: int
  ) -> caches.KeyValueCache:
    """An empty cache of every layer, for so many target tokens."""
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
    """Logits after new target tokens, and the cache that has read them too."""
    first = jax.tree.map(lambda x: x[0], cache)
    # The scan below would trace the length, and could not say no.
    caches.overflows(first, tokens.shape[-1])
    sees_forgotten(
      masks.causal(), first.length, first.forgotten, tokens.shape[-1]
    )
    places = first.next_positions(tokens.shape[-1])
    x = self._embed(self.target_embed, self.target_places, tokens, places)

    def layer(x, given):
      block, held, key, value = given
      return block.decode(x, held, key, value, memory_mask=memory.mask)

    blocks = (self.decoder, cache, memory.key, memory.value)
    x, cache = jax.lax.scan(layer, x, blocks)
    return self._read_out(x), cache

  def step(
    self,
    memory: CrossMemory,
    state: caches.KeyValueCache,
    tokens: Int[Array, "*B"],
  ) -> tuple[Float[Array, "*B V"], caches.KeyValueCache]:
    """Logits of the next token, and the state that has read this one."""
    logits, state = self.decode(memory, state, tokens[..., None])
    return logits[..., 0, :], state

  def _encode(self, source, lengths, drop, aux):
    """The memory of the source, and what was kept of its attention."""
    table = self.target_embed if self.config.shared else self.source_embed
    count = source.shape[-1]
    real, wrong = real_steps(lengths, source.shape[:-1], count)
    if wrong is not None:  # such a row is seen whole, and is NaN
      lengths = jnp.where(wrong, count, lengths)
    places = jnp.arange(source.shape[-1], dtype=jnp.int32)
    x = self._embed(table, self.source_places, source, places)
    # Hidden keys have to be finite, whatever token the padding holds.
    x = x if real is None else jnp.where(real[..., None], x, 0)
    x = poison(x, wrong)
    x, extra = run_blocks(
      self.encoder,
      drop(x, _SOURCE),
      drop.of(_ENCODER),
      self.config.unroll,
      mask=None if real is None else masks.lengths(key=lengths),
      aux=aux,
    )
    x = self.encoder_norm(x)
    project = lambda block: block.cross_attention.project_memory(x)
    key, value = jax.vmap(project)(self.decoder)
    return CrossMemory(key, value, lengths), extra

  def _embed(self, table, learned, tokens, places):
    """Token embeddings, and what is added to them of the position."""
    x = table(tokens)
    if learned is not None:
      _check_room(learned, tokens.shape[-1])
      code = learned(places)
    elif self.config.positions == "sinusoidal":
      # The table is unit-sized, embeddings start small: bring them to scale.
      code = encodings.sinusoidal(places, self.config.width)
      code = code * self.config.width**-0.5
    else:
      return x
    code = code.reshape((1,) * (x.ndim - code.ndim) + code.shape)
    return x + code.astype(x.dtype)

  def _read_out(self, x):
    """Logits in float32 of the last block's output."""
    table = self.target_embed if self.readout is None else self.readout
    return table.logits(self.decoder_norm(x))


def _check_room(table: Embedding | None, count: int) -> None:
  """A table of learned positions holds so many."""
  if table is not None and count > table.embedding.shape[0]:
    raise ValueError(
      f"EncoderDecoder: {count} tokens outgrow the {table.embedding.shape[0]}"
      " learned positions; raise max_length, or take another kind"
    )
