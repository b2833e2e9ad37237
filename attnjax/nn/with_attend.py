"""Replaces the attention of a module, sharing its parameters."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from flax import nnx

__all__ = ["with_attend"]

ModuleT = TypeVar("ModuleT", bound=nnx.Module)


def with_attend(module: ModuleT, attend: Callable) -> ModuleT:
  """Copies a module, with every field `attend` replaced.

  The copy shares the arrays, which may be traced or `jax.ShapeDtypeStruct`. The
  method `with_attend` of a model calls it, by which `attnjax.runs.fit` gives
  the model the sharded attention of a mesh.

  Args:
    module: with `MultiHeadAttention`, or modules of its own that have a field
      `attend`, at any depth.
    attend: called as `attnjax.attend`; a frozen dataclass or a top-level
      function, so that it hashes.

  Raises:
    ValueError: no module of it has such a field.

  >>> import attnjax
  >>> from attnjax.nn import MultiHeadAttention
  >>> from flax import nnx
  >>> layer = MultiHeadAttention(6, heads=3, rngs=nnx.Rngs(0))
  >>> twin = with_attend(layer, attnjax.dot_product_attention)
  >>> twin.attend is attnjax.dot_product_attention, layer.attend is twin.attend
  (True, False)
  >>> twin.query.kernel[...] is layer.query.kernel[...]
  True
  """
  # New modules around the same arrays: a deep copy would double the parameters.
  copy = jax.tree.map(lambda x: x, module)
  # Fields of the instance only: `nn.Embedding` has a method of this name.
  modules: list[Any] = [x for _, x in nnx.iter_modules(copy)]
  found = [one for one in modules if "attend" in vars(one)]
  if not found:
    raise ValueError(
      f"module must have a field `attend` somewhere, got a"
      f" {type(module).__name__} without one; give its layers `attend=`, as"
      " nn.MultiHeadAttention has it"
    )

  for one in found:
    one.attend = attend
  return copy
