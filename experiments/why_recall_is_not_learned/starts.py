"""Models whose start is bound in one half, in both, or in neither."""

import dataclasses

import jax
from flax import nnx

from attnjax.models import MemoryLM, MemoryLMConfig
from attnjax.models.leaf_paths import leaves_by_path

__all__ = ["halved"]

# What convolves queries, keys and values, of a memory and of attention.
_TAPS = (".memory.kernel", ".mixer.attention.kernel")


def halved(
  model: MemoryLMConfig, vocabulary: int, seed: int, *, query: bool, key: bool
) -> MemoryLM:
  """A model that begins as "identity" but for what is said.

  Args:
    model: sizes and choices; its `start` is ignored.
    vocabulary: V, tokens.
    seed: of the draws, which are the same for all four starts.
    query: whether the queries' map begins as the keys'.
    key: whether a key begins as the token before.
  """
  of = lambda start: MemoryLM(
    dataclasses.replace(model, start=start), vocabulary, rngs=nnx.Rngs(seed)
  )
  apart, bound = of("identity"), leaves_by_path(of("bound"))

  # Only the taps and the map of the queries differ between the two. By leaves,
  # for the models also hold their configs, which differ.
  chosen = [
    bound[path] if (key if path.endswith(_TAPS) else query) else leaf
    for path, leaf in leaves_by_path(apart).items()
  ]
  return jax.tree.unflatten(jax.tree.structure(apart), chosen)
