"""Published weights of an ALBERT, put where our modules have theirs."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.models.albert import Albert, AlbertConfig

__all__ = ["load_albert"]

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
# Published twice, for PyTorch ties tensors by holding both.
_COPIES = {
  "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
  "predictions.decoder.bias": "predictions.bias",
}
# Of the task that tells whether two texts follow each other.
_UNUSED = ("albert.pooler.weight", "albert.pooler.bias")


def load_albert(
  weights: Mapping[str, np.ndarray], config: AlbertConfig
) -> Albert:
  """An `Albert` with published weights, every tensor of which is accounted for.

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
  shapes = jax.eval_shape(lambda: Albert(config, rngs=nnx.Rngs(0)))
  leaves, tree = jax.tree.flatten_with_path(shapes)
  ours = [_Leaf(_name(path), leaf.shape) for path, leaf in leaves]
  _check_names(weights, [leaf.published for leaf in ours])
  loaded = [leaf.read(weights[leaf.published]) for leaf in ours]
  return jax.tree.unflatten(tree, loaded)


@dataclasses.dataclass(frozen=True)
class _Leaf:
  """A parameter of ours, and the published tensor that it comes from."""

  name: str
  shape: tuple[int, ...]

  @property
  def published(self) -> str:
    """The name of the tensor."""
    if self.name == "readout_bias":
      return "predictions.bias"
    module, _, leaf = self.name.rpartition(".")
    return f"{_MODULES[module]}.{_LEAVES.get(leaf, leaf)}"

  def read(self, tensor: np.ndarray) -> Any:
    """The parameter: a matrix turned round, its heads on axes of their own."""
    expected = self._published_shape()
    if tensor.shape != expected:
      raise ValueError(
        f"load_albert: {self.published} must have shape {list(expected)}, got"
        f" {list(tensor.shape)}; give the config that the weights were made for"
      )
    array = tensor.T if self.name.endswith(".kernel") else tensor
    return jnp.asarray(array.reshape(self.shape), jnp.float32)

  def _published_shape(self) -> tuple[int, ...]:
    """Heads are not told apart, and a matrix is ``[out, in]``."""
    shape = self.shape
    if self.name.endswith(".embedding"):
      return shape
    if not self.name.endswith(".kernel"):
      return (math.prod(shape),)
    inputs = 2 if self.name.endswith("output.kernel") else 1
    return (math.prod(shape[inputs:]), math.prod(shape[:inputs]))


def _name(path: tuple[Any, ...]) -> str:
  """The names on the path to a parameter, without Flax's own at the end."""
  names = [jax.tree_util.keystr((key,), simple=True) for key in path]
  if names[-1] in ("value", "raw_value"):
    names.pop()
  return ".".join(names)


def _check_names(weights: Mapping[str, np.ndarray], used: list[str]) -> None:
  """Nothing is missing, nothing is left over, and copies are copies."""
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
  for copy, original in _COPIES.items():
    if copy in weights and not np.array_equal(weights[copy], weights[original]):
      raise ValueError(
        f"load_albert: {copy} must equal {original}, for here the two are one;"
        " these weights were trained with readouts of their own"
      )
