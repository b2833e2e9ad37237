"""Dotted paths of a module's parameters, such as `norm.scale`."""

from collections.abc import Mapping
from typing import Any

import jax

from attnjax.typing import PyTree

__all__ = ["leaf_path", "leaves_by_path"]


def leaf_path(path: tuple[Any, ...]) -> str:
  """Dotted path of a parameter, without the `value` that Flax appends.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from attnjax.nn import Embedding
  >>> from flax import nnx
  >>> tree = jax.eval_shape(lambda: Embedding(2, 3, rngs=nnx.Rngs(0)))
  >>> [leaf_path(path) for path, _ in jax.tree.leaves_with_path(tree)]
  ['embedding']
  """
  names = [jax.tree_util.keystr((key,), simple=True) for key in path]
  if names[-1] in ("value", "raw_value"):
    names.pop()
  return ".".join(names)


def leaves_by_path(tree: PyTree) -> Mapping[str, Any]:
  """Leaves of a module by their dotted paths, in the order of the tree.

  >>> from attnjax.nn import Embedding
  >>> from flax import nnx
  >>> leaves = leaves_by_path(Embedding(2, 3, rngs=nnx.Rngs(0)))
  >>> {name: leaf.shape for name, leaf in leaves.items()}
  {'embedding': (2, 3)}
  """
  found = jax.tree_util.tree_leaves_with_path(tree)
  return {leaf_path(path): leaf for path, leaf in found}
