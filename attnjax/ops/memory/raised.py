"""A state as a call computes with it: wide enough, and alike on a mesh."""

import jax
import jax.numpy as jnp

from attnjax.ops.memory.state import MemoryState
from attnjax.ops.varying import varying_alike, varying_axes

__all__ = ["raised", "wide"]


def wide(state: MemoryState, *arrays):
  """float32, or what is wider: sums of a sequence are made in it.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.memory.rule import Rule
  >>> from attnjax.ops.memory.state import init
  >>> wide(init(Rule(), (), 1, 3, dtype=jnp.bfloat16), None)
  dtype('float32')
  """
  given = [x.dtype for x in arrays if x is not None]
  dtype = jnp.dtype(jnp.float32)
  for other in (*given, *(x.dtype for x in state.weights.values())):
    if jnp.finfo(other).bits > jnp.finfo(dtype).bits:
      dtype = jnp.dtype(other)
  return dtype


def raised(state: MemoryState, dtype, *arrays) -> MemoryState:
  """The state in a dtype; its position stays a number.

  A loop's carry inside `jax.shard_map` is from the first what it will be: it
  varies over the axes over which arrays of the call do.
  """
  given = [x for x in arrays if x is not None]
  axes = varying_axes(*given, *jax.tree.leaves(state))
  held = jax.tree.map(lambda x: varying_alike(x.astype(dtype), axes), state)
  return held.replace(position=state.position)
