"""Is every leaf of a model a parameter that training can change?"""

from typing import Any

import jax
import jax.numpy as jnp

from attnjax.training.leaves import named
from attnjax.typing import PyTree

__all__ = ["check_trainable"]


def check_trainable(model: PyTree) -> None:
  """Every leaf is real floats, and an array of its own.

  Gradients are of real floats. A step frees the arrays that it was given, once
  each; and one array at two places would be two after the first step, where
  tied weights were meant to stay one.

  Args:
    model: parameters; leaves may be traced, or `jax.ShapeDtypeStruct`.

  Raises:
    ValueError: names the first leaf that is something else.

  >>> import jax.numpy as jnp
  >>> check_trainable({"kernel": jnp.ones(3), "heads": 2})
  Traceback (most recent call last):
    ...
  ValueError: model: leaf ['heads'] must be real floats, got int32; ...
  """
  seen: dict[Any, str] = {}
  for name, leaf in named(model).items():
    _check_dtype(name, leaf)
    for place in _places(leaf):
      if place in seen:
        raise ValueError(
          f"model: leaf {name} must be an array of its own, got the one at leaf"
          f" {seen[place]}; tie weights by using one of them twice (such as"
          " embed.attend), or copy it: jnp.array(x)"
        )
      seen[place] = name


def _check_dtype(name: str, leaf: Any) -> None:
  """Refuses a leaf that has no gradient of real floats."""
  dtype = jnp.result_type(leaf) if isinstance(leaf, _NUMBERS) else None
  dtype = getattr(leaf, "dtype", dtype)
  if dtype is None:
    raise ValueError(
      f"model: leaf {name} must be an array of real floats, got a"
      f" {type(leaf).__name__}; make it a static field"
    )
  if jnp.issubdtype(dtype, jnp.complexfloating):
    raise ValueError(
      f"model: leaf {name} must be real floats, got {dtype}; keep its real and"
      " imaginary parts as two arrays, and join them with jax.lax.complex"
    )
  if not jnp.issubdtype(dtype, jnp.floating):
    raise ValueError(
      f"model: leaf {name} must be real floats, got {dtype}; what is not"
      " trained is an argument of the loss, or a static field"
    )


_NUMBERS = (bool, int, float, complex)


def _places(leaf: Any) -> list[Any]:
  """What tells one array from another: the memory of each of its parts."""
  if not isinstance(leaf, jax.Array) or isinstance(leaf, jax.core.Tracer):
    return []
  if leaf.size == 0 or leaf.is_deleted():
    return []
  parts = [shard.data for shard in leaf.addressable_shards]
  return [(part.device, part.unsafe_buffer_pointer()) for part in parts]
