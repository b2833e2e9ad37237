"""`Albert`: an encoder whose layers share weights; loads published ones."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.config import Config, setting
from attnjax.models.block_stack import check_heads
from attnjax.models.leaf_paths import leaf_path
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

__all__ = ["Albert", "AlbertConfig", "load_albert"]

# Standard deviation of all matrices of BERT and ALBERT.
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
    check_heads(self)


class Albert(nnx.Module):
  """A post-norm encoder whose layers share weights, for masked tokens.

      e      = norm(token[w] + position + kind)           embedding width
      x      = e W + b                                    model width
      x      = block(x), L times the same block
      logits = norm(gelu_erf(x W' + b')) · token + b''    embedding width

  There is no causal mask: a token to be predicted must be replaced by a mask
  token in the input.

  Args:
    config: sizes.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  A prediction depends on tokens of both sides:

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
    attention = MultiHeadAttention(
      wide,
      config.heads,
      use_bias=True,
      attend=attend,
      kernel_init=_SMALL,
      output_init=_SMALL,
      rngs=rngs,
    )
    # ALBERT was trained with the exact gelu, not its tanh approximation.
    feed_forward = FeedForward(
      wide,
      config.hidden,
      activation="gelu_erf",
      use_bias=True,
      output_init=_SMALL,
      rngs=rngs,
    )
    self.block = TransformerBlock(
      attention,
      feed_forward,
      width=wide,
      norm="layer",
      use_bias=True,
      order="post",
      epsilon=config.epsilon,
      rngs=rngs,
    )
    # Back to the embedding width: the readout is the table of the embeddings.
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
      lengths: int ``*B``, tokens before the padding, which is masked and may be
        any token of the vocabulary. None is T.
      aux: what to return of every attention, as in `attnjax.attend`.

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
    """Sum of token, position and kind embeddings, normalised."""
    length = tokens.shape[-1]
    if length > self.config.max_length:
      raise ValueError(
        f"Albert: tokens has {length} positions on its last axis, at most"
        f" {self.config.max_length} have an embedding; shorten the text"
      )
    # As in BERT, where a single text is of kind 0.
    kinds = jnp.zeros_like(tokens) if kinds is None else kinds
    x = self.embed(tokens) + self.kinds(kinds)
    places = self.places(jnp.arange(length, dtype=jnp.int32))
    return self.embed_norm(
      # Batch axes by hand, so that it runs under strict rank promotion.
      x + places.reshape((1,) * (x.ndim - 2) + places.shape)
    )

  def _read_out(self, x) -> Float[Array, "*B T V"]:
    """Logits by the table of the token embeddings."""
    x = self.readout_norm(jax.nn.gelu(self.narrow(x), approximate=False))
    bias = self.readout_bias[...]
    return self.embed.logits(x) + bias.reshape((1,) * (x.ndim - 1) + bias.shape)


_LAYER = "albert.encoder.albert_layer_groups.0.albert_layers.0"

# Our module -> the published one.
_MODULES = {
  "embed": "albert.embeddings.word_embeddings",
  "places": "albert.embeddings.position_embeddings",
  "kinds": "albert.embeddings.token_type_embeddings",
  "embed_norm": "albert.embeddings.LayerNorm",
  "widen": "albert.encoder.embedding_hidden_mapping_in",
  "block.attention.query": f"{_LAYER}.attention.query",
  "block.attention.key": f"{_LAYER}.attention.key",
  "block.attention.value": f"{_LAYER}.attention.value",
  "block.attention.output": f"{_LAYER}.attention.dense",
  "block.attention_norm": f"{_LAYER}.attention.LayerNorm",
  "block.feed_forward.up": f"{_LAYER}.ffn",
  "block.feed_forward.down": f"{_LAYER}.ffn_output",
  "block.feed_forward_norm": f"{_LAYER}.full_layer_layer_norm",
  "narrow": "predictions.dense",
  "readout_norm": "predictions.LayerNorm",
}
_LEAVES = {"embedding": "weight", "kernel": "weight", "scale": "weight"}
# PyTorch saves tied tensors under both names.
_COPIES = {
  "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
  "predictions.decoder.bias": "predictions.bias",
}
# For sentence-order prediction, which this model does not have.
_UNUSED = ("albert.pooler.weight", "albert.pooler.bias")


def load_albert(
  weights: Mapping[str, np.ndarray], config: AlbertConfig
) -> Albert:
  """Loads published weights into an `Albert`; refuses missing or extra ones.

  Args:
    weights: by the names that PyTorch's `AlbertForMaskedLM` gives them, such as
      `data.reaction_weights()`; matrices are ``[out, in]``.
    config: sizes, which the weights must have.

  Returns:
    The model, float32.

  Raises:
    ValueError: a tensor is missing, has another shape, is none of this model,
      or should be a copy of another and is not.

  >>> from attnjax.models.albert import AlbertConfig
  >>> load_albert({}, AlbertConfig())
  Traceback (most recent call last):
    ...
  ValueError: load_albert: weights lack ...

  Reference:
    Lan et al., 2019, arXiv 1909.11942; the names: Wolf et al., "Transformers:
    State-of-the-Art Natural Language Processing", 2020, arXiv 1910.03771.
  """
  # `eval_shape`: no parameter is drawn only to be replaced.
  shapes = jax.eval_shape(lambda: Albert(config, rngs=nnx.Rngs(0)))
  leaves, tree = jax.tree.flatten_with_path(shapes)
  ours = [_Leaf(leaf_path(path), leaf.shape) for path, leaf in leaves]
  _check_names(weights, [leaf.published for leaf in ours])
  loaded = [leaf.read(weights[leaf.published]) for leaf in ours]
  return jax.tree.unflatten(tree, loaded)


@dataclasses.dataclass(frozen=True)
class _Leaf:
  """A parameter of `Albert`, and the published tensor that it comes from."""

  name: str
  shape: tuple[int, ...]

  @property
  def published(self) -> str:
    """The name of the tensor."""
    if self.name == "readout_bias":
      return "predictions.bias"
    module, _, leaf = self.name.rpartition(".")
    return f"{_MODULES[module]}.{_LEAVES.get(leaf, leaf)}"

  def read(self, tensor: np.ndarray) -> Array:
    """Converts a tensor: transposes it and splits heads into an axis."""
    # Published matrices are ``[out, in]``, with heads flattened.
    shape = self.shape
    if self.name.endswith(".embedding"):
      expected = shape
    elif self.name.endswith(".kernel"):
      # Here the output map is ``H D M``, with two input axes; those of queries,
      # keys and values are ``M H D``.
      inputs = 2 if self.name.endswith("output.kernel") else 1
      expected = (math.prod(shape[inputs:]), math.prod(shape[:inputs]))
    else:
      expected = (math.prod(shape),)

    if tensor.shape != expected:
      raise ValueError(
        f"load_albert: {self.published} must have shape {list(expected)}, got"
        f" {list(tensor.shape)}; give the config that the weights were made for"
      )
    array = tensor.T if self.name.endswith(".kernel") else tensor
    return jnp.asarray(array.reshape(self.shape), jnp.float32)


def _check_names(weights: Mapping[str, np.ndarray], used: list[str]) -> None:
  """Raises ValueError for missing or unknown tensors, and unequal copies."""
  known = {*used, *_COPIES, *_UNUSED}

  if missing := [name for name in used if name not in weights]:
    raise ValueError(
      f"load_albert: weights lack {', '.join(missing)}; expected those of a"
      " PyTorch AlbertForMaskedLM with one layer group"
    )
  if extra := sorted(set(weights) - known):
    raise ValueError(
      f"load_albert: weights hold {', '.join(extra)}, which no part of the"
      " model is for; expected one layer group and one layer in it"
    )

  # Here the two are one parameter: an untied readout would be lost silently.
  for copy, original in _COPIES.items():
    if copy in weights and not np.array_equal(weights[copy], weights[original]):
      raise ValueError(
        f"load_albert: {copy} must equal {original}, for here the two are one;"
        " these weights were trained with readouts of their own"
      )
