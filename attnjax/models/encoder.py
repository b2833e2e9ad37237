"""`Encoder`: a bidirectional transformer, and embeddings of sentences."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.config import setting, with_default
from attnjax.models.decoder_config import DecoderConfig
from attnjax.models.decoder_layers import (
  make_decoder_block,
  rotary_of,
  scan_layers,
  score_mod_of,
)
from attnjax.nn import Embedding, with_attend
from attnjax.nn.embed import add_positions
from attnjax.nn.norm import make_norm
from attnjax.ops import masks
from attnjax.ops.attention import attend as default_attend
from attnjax.typing import Array, Bool, Float, Int

__all__ = ["Encoder", "EncoderConfig", "sentence_embeddings"]

# Other libraries give 0 and 1.
_Real = Bool[Array | np.ndarray, "*B T"] | Int[Array | np.ndarray, "*B T"]


@dataclasses.dataclass(frozen=True)
class EncoderConfig(DecoderConfig):
  """Sizes and choices of an `Encoder`: those of a decoder's blocks, and more.

  The defaults are of BERT's kind. A window is to both sides. There is no
  readout, and so `tied` and `logits_softcap` mean nothing.
  """

  activation: str = with_default(DecoderConfig, "activation", "gelu_erf")
  norm: str = with_default(DecoderConfig, "norm", "layer")
  epsilon: float = with_default(DecoderConfig, "epsilon", 1e-12)
  order: str = with_default(DecoderConfig, "order", "post")
  use_bias: bool = with_default(DecoderConfig, "use_bias", True)
  positions: str = with_default(DecoderConfig, "positions", "learned")
  max_length: int = with_default(DecoderConfig, "max_length", 512)
  token_kinds: int = setting(
    2, "kinds of token: of a first text, of a second; 0: no table", at_least=0
  )
  embedding_norm: bool = setting(True, "a norm of the embeddings")
  first_norm: bool = setting(
    True, "a norm before the first attention, of pre-norm blocks"
  )

  @property
  def kinds(self) -> tuple[str, ...]:
    """The kind of attention of every layer; "_bare" without its norm."""
    first, *rest = super().kinds
    return (first if self.first_norm else f"{first}_bare", *rest)


class Encoder(nnx.Module):
  """A bidirectional transformer: every token sees every other.

      x = norm(token[w] + position + kind)
      x = block[l](x), l = 0 .. L-1
      x = norm(x), unless the blocks are post-norm

  Args:
    config: sizes and choices.
    vocabulary: V, tokens.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if heads do not divide the width, or an option is unknown.

  Padding on either side changes nothing:

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> config = EncoderConfig(width=8, depth=2, heads=2, hidden=16)
  >>> model = Encoder(config, 11, rngs=nnx.Rngs(0))
  >>> padded = jnp.array([[0, 0, 3, 1], [3, 1, 0, 0]])
  >>> x = model(padded, real=padded > 0)
  >>> bool(jnp.allclose(x[0, 2:], x[1, :2], atol=1e-5))
  True

  Reference:
    Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers",
    2018, arXiv 1810.04805; without kinds: Liu et al., "RoBERTa", 2019, arXiv
    1907.11692; pre-norm with windows: Warner et al., "Smarter, Better, Faster,
    Longer" (ModernBERT), 2024, arXiv 2412.13663; without kinds too: Sanh et
    al., "DistilBERT", 2019, arXiv 1910.01108.
  """

  def __init__(
    self,
    config: EncoderConfig,
    vocabulary: int,
    *,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    if config.experts.dense:
      raise ValueError(
        "Encoder: experts.dense must be empty, for all layers of an encoder"
        f" have the same parameters, got {config.experts.dense}"
      )
    self.config = config
    self.vocabulary = vocabulary
    table = lambda rows: Embedding(rows, config.width, rngs=rngs)
    norm = lambda: make_norm(
      config.norm, config.width, config.use_bias, rngs, epsilon=config.epsilon
    )
    self.embed = table(vocabulary)
    learned = config.positions == "learned"
    rows = config.max_length + config.position_offset
    self.position_table = table(rows) if learned else None
    self.kind_table = table(config.token_kinds) if config.token_kinds else None
    self.embedding_norm = norm() if config.embedding_norm else None
    block = lambda key: make_decoder_block(config, attend, nnx.Rngs(key))
    self.blocks = jax.vmap(block)(jax.random.split(rngs.params(), config.depth))
    self.norm = None if config.order == "post" else norm()

  def __call__(
    self,
    tokens: Int[Array, "*B T"],
    *,
    real: _Real | None = None,
    kinds: Int[Array | np.ndarray, "*B T"] | None = None,
    aux: tuple[str, ...] = (),
  ):
    """The features of every token.

    Args:
      tokens: int ``*B T``, in [0, V); another id makes its row NaN.
      real: bool (or 0 and 1) ``*B T``, False for padding: it is seen by no
        real token and has no position. None: all are real.
      kinds: int ``*B T``, of each token; None is 0 everywhere: one text.
      aux: what to return of every attention, as in `attnjax.attend`.

    Returns:
      ``*B T M``, where `real` is False of no meaning; with `aux`, a pair with
      an `Aux` whose arrays have a leading layer axis ``L``.
    """
    positions: Any = np.arange(tokens.shape[-1], dtype=np.int32)
    segments = None
    if real is not None:
      # Whatever stands for true: other segments would not see each other.
      segments = jnp.asarray(real).astype(bool).astype(jnp.int32)
      positions = jnp.maximum(jnp.cumsum(segments, axis=-1) - 1, 0)

    def layer(kind, x, block):
      result = block(
        x,
        first_norm=not kind.endswith("_bare"),
        mask=self._mask(kind),
        position_encoding=rotary_of(self.config, kind, tokens.shape[-1]),
        positions=positions,
        query_segment_ids=segments,
        key_segment_ids=segments,
        score_mod=score_mod_of(self.config),
        aux=aux,
      )
      return result if isinstance(result, tuple) else (result, None)

    x, extra = scan_layers(
      jax.checkpoint(layer, static_argnums=0) if self.config.remat else layer,
      self._embed(tokens, positions, kinds),
      self.blocks,
      self.config.kinds,
      unroll=self.config.unroll,
    )
    x = x if self.norm is None else self.norm(x)
    return (x, extra) if aux else x

  def with_attend(self, attend: Callable) -> "Encoder":
    """The same parameters in an encoder that calls another attention."""
    return with_attend(self, attend)

  def _embed(self, tokens, positions, kinds):
    """Token, position and kind embeddings, summed and normalised."""
    config = self.config
    x = self.embed(tokens)
    if config.embedding_scale != 1:
      x = x * jnp.asarray(config.embedding_scale, x.dtype)
    if self.kind_table is not None:
      kinds = jnp.zeros_like(tokens) if kinds is None else jnp.asarray(kinds)
      x = x + self.kind_table(kinds)
    elif kinds is not None:
      raise ValueError("Encoder: kinds must be None, for it has no token_kinds")
    places = positions + config.position_offset
    x = add_positions(x, places, config.positions, self.position_table)
    return x if self.embedding_norm is None else self.embedding_norm(x)

  def _mask(self, kind: str) -> masks.Mask | None:
    """A window to both sides in layers that have it, else nothing."""
    if self.config.window is None or kind.startswith("full"):
      return None
    return masks.sliding_window(self.config.window, self.config.window)


def sentence_embeddings(
  features: Float[Array, "*B T M"],
  real: _Real | None = None,
  *,
  normalized: bool = True,
) -> Float[Array, "*B M"]:
  """One vector a text: the mean over its tokens, of length 1.

      e = Σ_t real[t] x[t] / Σ_t real[t],  e / |e|

  Args:
    features: ``*B T M``, of an `Encoder`.
    real: bool (or 0 and 1) ``*B T``, False for padding; None: all are real.
    normalized: whether the vector has length 1, so that a product of two is
      their cosine.

  Returns:
    float32 or wider ``*B M``; 0 for a text without real tokens.

  >>> import jax.numpy as jnp
  >>> x = jnp.array([[3.0, 4.0], [5.0, 4.0], [9.0, 9.0]])
  >>> sentence_embeddings(x, jnp.array([True, True, False])).tolist()
  [0.707..., 0.707...]

  Reference:
    Reimers, Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese
    BERT-Networks", 2019, arXiv 1908.10084, section 3.
  """
  wide = jnp.float64 if features.dtype == jnp.float64 else jnp.float32
  x = features.astype(wide)
  if real is None:
    mean = x.sum(axis=-2) / max(x.shape[-2], 1)
  else:
    # Chosen and not multiplied: features of padding may be NaN.
    kept = jnp.asarray(real).astype(bool)[..., None]
    count = jnp.maximum(kept.sum(axis=-2), 1).astype(wide)
    mean = jnp.where(kept, x, 0).sum(axis=-2) / count
  if not normalized:
    return mean
  square = jnp.square(mean).sum(axis=-1, keepdims=True)
  # The root of 0 has no gradient.
  return mean * jax.lax.rsqrt(jnp.where(square > 0, square, 1))
