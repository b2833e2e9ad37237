"""`DecoderLM`: a decoder-only transformer language model."""

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.models.decoder_config import DecoderConfig, RotaryConfig
from attnjax.models.decoder_layers import (
  make_decoder_block,
  rotary_of,
  scan_layers,
  score_mod_of,
)
from attnjax.models.decoder_parameters import decoder_parameters, total
from attnjax.models.layer_caches import (
  LayerCaches,
  init_layers,
  is_windowed,
  places,
)
from attnjax.nn import Embedding, with_attend
from attnjax.nn.embed import add_positions
from attnjax.nn.norm import make_norm
from attnjax.ops import cache as caches
from attnjax.ops import masks
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.forgotten_tokens import sees_forgotten
from attnjax.ops.value_checks import poison
from attnjax.typing import Array, Bool, DTypeLike, Float, Int

__all__ = [
  "DecoderConfig",
  "DecoderLM",
  "RotaryConfig",
  "decoder_parameters",
  "total",
]


class DecoderLM(nnx.Module):
  """A decoder-only transformer language model, pre-norm unless it says else.

      x      = embed(tokens) [+ position]
      x      = block[l](x), l = 0 .. L-1, causal
      logits = norm(x) · table

  In the order "post" x leaves the last block normalised, and the norm before
  the readout is one more. The layers are stacked along a leading axis and
  scanned, so that compile time does not grow with depth: where kinds of
  attention alternate, a turn of the scan is a period of them.

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
    rows = config.max_length + config.position_offset
    self.position_table = table(rows) if learned else None
    block = lambda key, dense=False: make_decoder_block(
      config, attend, nnx.Rngs(key), dense=dense
    )

    # Stacked parameters, so that a scan compiles one block whatever the depth.
    keys = jax.random.split(rngs.params(), config.depth)
    dense = [*config.experts.dense]
    rest = [i for i in range(config.depth) if i not in dense]
    self.blocks: Any = jax.vmap(block)(keys[np.array(rest)] if dense else keys)
    # Layers without experts have other parameters, and so a stack of their own.
    self.dense_blocks: Any = (
      jax.vmap(functools.partial(block, dense=True))(keys[np.array(dense)])
      if dense
      else None
    )
    self.norm = make_norm(
      config.norm, config.width, config.use_bias, rngs, epsilon=config.epsilon
    )
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
      mask: a mask, or a bool array that broadcasts to ``*B H T S``, of every
        layer; None is causal, within the window of the config.
      aux: what to keep of every attention, as in `attnjax.attend`.

    Returns:
      float32 ``*B T V``; with `aux`, a pair with an `Aux` whose arrays have a
      leading layer axis ``L``.
    """
    if positions is None:
      # numpy, so that a sharded attention knows their values under `jit`.
      positions = np.arange(tokens.shape[-1], dtype=np.int32)
    attend_kw = {
      "positions": positions,
      "query_segment_ids": segment_ids,
      "key_segment_ids": segment_ids,
      "score_mod": score_mod_of(self.config),
      "aux": aux,
    }

    def layer(kind, x, parts):
      (block,) = parts
      result = block(
        x,
        mask=self._mask(kind) if mask is None else mask,
        position_encoding=rotary_of(self.config, kind, tokens.shape[-1]),
        **attend_kw,
      )
      return result if isinstance(result, tuple) else (result, None)

    # By block: the scan then saves only the residual stream between blocks.
    remat = jax.checkpoint(layer, static_argnums=0)
    x, extra = self._scan(
      remat if self.config.remat else layer,
      self._embed(tokens, positions),
      unroll=self.config.unroll,
    )
    logits = self._read_out(x)
    return (logits, extra) if aux else logits

  def with_attend(self, attend: Callable) -> "DecoderLM":
    """The same parameters in a decoder that calls another attention."""
    return with_attend(self, attend)

  def with_layers_apart(self) -> "DecoderLM":
    """The same decoder, each of whose layers has arrays of its own.

    A scan over stacked layers copies the weights of each before it multiplies
    by them. Where one token is read at a time that copy takes as long as the
    product; on a CPU such a decoder writes faster. It compiles for as long as
    it has layers, and is not for training: `save` and rules of sharding take
    the stacked one.

    Raises:
      ValueError: they are apart already.

    >>> from attnjax.models import DecoderConfig
    >>> from flax import nnx
    >>> config = DecoderConfig(width=8, depth=3, heads=2, hidden=16)
    >>> model = DecoderLM(config, 11, rngs=nnx.Rngs(0)).with_layers_apart()
    >>> len(model.blocks)
    3
    """
    if self.apart:
      raise ValueError("with_layers_apart: the layers must be stacked")
    other = copy.copy(self)
    dense, blocks = self.config.experts.dense, []
    for layer in range(self.config.depth):
      row, stack = sum(i < layer for i in dense), self.dense_blocks
      if layer not in dense:
        row, stack = layer - row, self.blocks
      blocks.append(jax.tree.map(lambda a, row=row: a[row], stack))
    other.blocks, other.dense_blocks = nnx.List(blocks), None
    return other

  @property
  def apart(self) -> bool:
    """Whether each layer has arrays of its own."""
    return isinstance(self.blocks, nnx.List)

  def init_cache(
    self,
    batch: tuple[int, ...],
    capacity: int,
    dtype: DTypeLike = jnp.float32,
    *,
    rolling: int | None = None,
  ) -> caches.KeyValueCache | LayerCaches:
    """An empty cache of every layer, stacked as the layers are.

    Args:
      batch: sizes of the batch axes ``*B``.
      capacity: C, tokens of the text at most, >= 1.
      dtype: of keys and values.
      rolling: None keeps every token in every layer. A number >= 0: layers with
        a window keep what it shows and so many tokens more, which `rewind` may
        remove again; only full layers take memory for C tokens.

    Raises:
      ValueError: if a number is out of range.
    """
    # Sizes by the parameters and not by the config: with K key/value heads and
    # a `head_width` the defaults are resolved there.
    block = self.blocks[0] if self.apart else self.blocks
    depth, attention = self.config.depth, block.attention
    heads, width = attention.key.kernel.shape[-2:]
    sizes = {"heads": heads, "width": width, "dtype": dtype}
    if self.config.latent.width:
      sizes |= {"heads": 1, "width": attention.rotary_key.kernel.shape[-1]}
      sizes["value_width"] = attention.latent.kernel.shape[-1]
    if rolling is None:
      return caches.init((depth, *batch), capacity, **sizes)
    if rolling < 0:
      raise ValueError(f"init_cache: rolling must be >= 0, got {rolling}")

    kinds, window = self.config.kinds, self.config.window
    # A query sees the window before it, and itself.
    slots = capacity if window is None else window + 1 + rolling
    return init_layers(kinds, batch, capacity, slots, **sizes)

  def decode(
    self,
    tokens: Int[Array, "*B T"],
    cache: caches.KeyValueCache | LayerCaches,
    *,
    lengths: Int[Array, "*B"] | None = None,
  ) -> tuple[Float[Array, "*B T V"], caches.KeyValueCache | LayerCaches]:
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
    x, cache = self._decode_blocks(tokens, cache, lengths)
    return self._read_out(x), cache

  def read(
    self,
    tokens: Int[Array, "*B T"],
    cache: caches.KeyValueCache | LayerCaches,
    *,
    lengths: Int[Array, "*B"] | None = None,
  ) -> tuple[Float[Array, "*B V"], caches.KeyValueCache | LayerCaches]:
    """Logits after the last token alone: `decode` without those of the others.

    Args:
      tokens: as in `decode`.
      cache: as in `decode`.
      lengths: as in `decode`; the last token of a row is the last real one.

    Returns:
      Logits ``*B V`` and the cache with the new tokens.
    """
    x, cache = self._decode_blocks(tokens, cache, lengths)
    if lengths is None:
      return self._read_out(x[..., -1, :]), cache
    end = jnp.asarray(lengths)[..., None, None] - 1
    last = jnp.take_along_axis(x, end, axis=-2)[..., 0, :]
    return self._read_out(last), cache

  def _decode_blocks(self, tokens, cache, lengths):
    """Output of the last block for new tokens, and the cache with them."""
    kinds, count = self.config.kinds, tokens.shape[-1]
    rolling = isinstance(cache, LayerCaches)
    state = cache if rolling else LayerCaches(cache, None, cache.capacity)
    rolls = {kind: rolling and is_windowed(kind) for kind in kinds}
    group = {kind: "window" if rolls[kind] else "full" for kind in kinds}

    # Checked before the scan, in which lengths are traced.
    wrong = state.overflows(count if lengths is None else lengths)
    for kind in sorted({*kinds}):
      first = jax.tree.map(lambda x: x[0], getattr(state, group[kind]))
      sees_forgotten(
        self._mask(kind),
        first.length,
        first.forgotten,
        count,
        lengths=lengths,
        rolling=first.capacity if rolls[kind] else None,
      )

    # The caches are carried, not scanned over: a carry is updated in place.
    index = jax.lax.dynamic_index_in_dim

    def layer(kind, carry, block_and_place):
      x, state = carry
      block, place = block_and_place
      stored = getattr(state, group[kind])
      x, one = block.decode(
        x,
        jax.tree.map(lambda a: index(a, place, keepdims=False), stored),
        lengths=lengths,
        store=caches.roll if rolls[kind] else caches.append,
        mask=self._mask(kind),
        position_encoding=rotary_of(self.config, kind, state.capacity),
        score_mod=score_mod_of(self.config),
      )
      put = lambda a, new: jax.lax.dynamic_update_index_in_dim(a, new, place, 0)
      stored = jax.tree.map(put, stored, one)
      return (x, dataclasses.replace(state, **{group[kind]: stored})), None

    x = self._embed(tokens, first.next_positions(count))
    order = places(tuple(group[kind] for kind in kinds))
    (x, state), _ = self._scan(layer, (poison(x, wrong), state), order)
    return x, state if rolling else state.full

  def _scan(self, layer, x, *beside, unroll: int = 1):
    """Runs all layers: ``layer(kind, x, (block, what it has beside...))``."""
    kinds = self.config.kinds
    if self.apart:
      parts = [*zip(self.blocks, *beside, strict=True)]
      return scan_layers(layer, x, parts, kinds)
    if self.dense_blocks is None:
      stacked = (self.blocks, *beside)
      return scan_layers(layer, x, stacked, kinds, unroll=unroll)

    dense = self.config.experts.dense
    names = ["dense" if i in dense else "rest" for i in range(len(kinds))]
    return scan_layers(
      lambda kind, x, parts: layer(
        kind, x, (parts.get("dense", parts.get("rest")), *parts["beside"])
      ),
      x,
      {"beside": beside, "rest": self.blocks, "dense": self.dense_blocks},
      kinds,
      stacks=tuple(("beside", name) for name in names),
      unroll=unroll,
    )

  def _embed(self, tokens, positions):
    """Token embeddings plus position encodings."""
    kind, table = self.config.positions, self.position_table
    x, scale = self.embed(tokens), self.config.embedding_scale
    # As an array of the dtype of x: published models round the scale to it.
    x = x if scale == 1 else x * jnp.asarray(scale, x.dtype)
    if kind == "learned" and self.config.position_offset:
      # Positions below 0 stay outside of the table.
      shifted = positions + self.config.position_offset
      positions = jnp.where(positions < 0, -1, shifted)
    return add_positions(x, positions, kind, table)

  def _mask(self, kind: str) -> masks.Mask:
    """Causal, within the window of the config in layers that have it."""
    if self.config.window is None or kind.startswith("full"):
      return masks.causal()
    return masks.sliding_window(self.config.window)

  def _read_out(self, x):
    """Logits of the last block's output, in float32 or wider."""
    table = self.embed if self.readout is None else self.readout
    logits, cap = table.logits(self.norm(x)), self.config.logits_softcap
    return logits if cap is None else cap * jnp.tanh(logits / cap)
