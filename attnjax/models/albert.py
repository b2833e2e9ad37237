"""ALBERT: a transformer encoder of one layer, used many times over."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.config import Config, setting
from attnjax.nn import (
  Embedding,
  FeedForward,
  MultiHeadAttention,
  TransformerBlock,
)
from attnjax.nn.norm import LayerNorm
from attnjax.ops import masks
from attnjax.ops.attention import attend as default_attend
from attnjax.typing import Array, Float, Int

__all__ = ["Albert", "AlbertConfig"]

_SMALL = jax.nn.initializers.normal(0.02)


@dataclasses.dataclass(frozen=True)
class AlbertConfig(Config):
  """Sizes of an `Albert`; the defaults are those of `rxnmapper`."""

  vocabulary: int = setting(591, "tokens V", at_least=1)
  embedding: int = setting(
    128, "width of a token's embedding, features", at_least=1
  )
  width: int = setting(
    256, "model width M, features; a multiple of the heads", at_least=1
  )
  depth: int = setting(12, "times L that the one layer is used", at_least=1)
  heads: int = setting(8, "heads H", at_least=1)
  hidden: int = setting(
    512, "features F between the feed-forward maps", at_least=1
  )
  max_length: int = setting(512, "positions that have an embedding", at_least=1)
  kinds: int = setting(
    2, "kinds of token: of a first text, of a second", at_least=1
  )
  epsilon: float = setting(
    1e-12, "added to the variance in layer norms", above=0
  )

  def __post_init__(self):
    super().__post_init__()
    if self.width % self.heads:
      raise ValueError(
        f"model: heads={self.heads} must divide width={self.width}; choose"
        " another number of heads"
      )


class Albert(nnx.Module):
  """A post-norm encoder whose layers are one, and a head that fills gaps.

      e      = norm(token[w] + position + kind)           narrow
      x      = e W + b                                    as wide as the model
      x      = block(x), L times the same block
      logits = norm(gelu_erf(x W' + b')) · token + b''    narrow again

  Every position sees every other: what is to be guessed must be hidden in the
  input, behind a token that says so.

  Args:
    config: sizes.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  A guess is made from both sides:

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> config = AlbertConfig(vocabulary=7, embedding=4, width=8, heads=2)
  >>> model = jax.jit(lambda: Albert(config, rngs=nnx.Rngs(0)))()
  >>> guess = jax.jit(lambda tokens: model(tokens)[1])
  >>> bool((guess(jnp.array([1, 2, 3])) != guess(jnp.array([1, 2, 4]))).any())
  True

  Reference:
    Lan et al., "ALBERT: A Lite BERT for Self-supervised Learning of Language
    Representations", 2019, arXiv 1909.11942; Devlin et al., "BERT:
    Pre-training of Deep Bidirectional Transformers", 2018, arXiv 1810.04805.
  """

  def __init__(
    self,
    config: AlbertConfig,
    *,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    narrow, wide = config.embedding, config.width
    table = lambda rows: Embedding(rows, narrow, rngs=rngs)
    linear = lambda n, m: nnx.Linear(n, m, kernel_init=_SMALL, rngs=rngs)
    norm = lambda: LayerNorm(narrow, epsilon=config.epsilon, rngs=rngs)
    self.config = config
    self.embed = table(config.vocabulary)
    self.places = table(config.max_length)
    self.kinds = table(config.kinds)
    self.embed_norm = norm()
    self.widen = linear(narrow, wide)
    self.block = _make_block(config, attend, rngs)
    self.narrow = linear(wide, narrow)
    self.readout_norm = norm()
    self.readout_bias = nnx.Param(jnp.zeros((config.vocabulary,)))

  def __call__(
    self,
    tokens: Int[Array, "*B T"],
    *,
    kinds: Int[Array, "*B T"] | None = None,
    lengths: Int[Array, "*B"] | None = None,
    aux: tuple[str, ...] = (),
  ):
    """Logits of the token at every position.

    Args:
      tokens: int ``*B T``, in [0, V); another id makes its row NaN.
      kinds: int ``*B T``; None is 0 everywhere: one text.
      lengths: int ``*B``, tokens that are real; those behind are not seen, and
        may be any of the vocabulary. None is T.
      aux: what to keep of every attention, as in `attnjax.attend`.

    Returns:
      float32 ``*B T V``; with `aux`, a pair with an `Aux` whose arrays have a
      leading layer axis: weights are ``L *B H T S``.

    Raises:
      ValueError: if there are more tokens than positions.
    """
    mask = None if lengths is None else masks.lengths(key=lengths)

    def layer(x, _):
      result = self.block(x, mask=mask, aux=aux)
      return result if isinstance(result, tuple) else (result, None)

    x = self.widen(self._embed(tokens, kinds))
    x, extra = jax.lax.scan(layer, x, length=self.config.depth)
    logits = self._read_out(x)
    return (logits, extra) if aux else logits

  def _embed(self, tokens, kinds) -> Float[Array, "*B T N"]:
    """Of each token: what it is, where it is, and of which text."""
    length = tokens.shape[-1]
    if length > self.config.max_length:
      raise ValueError(
        f"Albert: tokens has {length} positions on its last axis, at most"
        f" {self.config.max_length} have an embedding; shorten the text"
      )
    kinds = jnp.zeros_like(tokens) if kinds is None else kinds
    x = self.embed(tokens) + self.kinds(kinds)
    places = self.places(jnp.arange(length, dtype=jnp.int32))
    return self.embed_norm(
      x + places.reshape((1,) * (x.ndim - 2) + places.shape)
    )

  def _read_out(self, x) -> Float[Array, "*B T V"]:
    """Logits by the table that embeds the tokens."""
    x = self.readout_norm(jax.nn.gelu(self.narrow(x), approximate=False))
    bias = self.readout_bias[...]
    return self.embed.logits(x) + bias.reshape((1,) * (x.ndim - 1) + bias.shape)


def _make_block(config: AlbertConfig, attend: Callable, rngs: nnx.Rngs):
  """The one layer."""
  attention = MultiHeadAttention(
    config.width,
    config.heads,
    use_bias=True,
    attend=attend,
    kernel_init=_SMALL,
    output_init=_SMALL,
    rngs=rngs,
  )
  feed_forward = FeedForward(
    config.width,
    config.hidden,
    activation="gelu_erf",
    use_bias=True,
    output_init=_SMALL,
    rngs=rngs,
  )
  return TransformerBlock(
    attention,
    feed_forward,
    width=config.width,
    norm="layer",
    use_bias=True,
    order="post",
    epsilon=config.epsilon,
    rngs=rngs,
  )
