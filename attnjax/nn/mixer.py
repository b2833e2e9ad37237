"""What all token mixers of Titans share: their parts, and their state."""

import jax.numpy as jnp
from flax import nnx

from attnjax.ops.pytree_dataclass import pytree_dataclass
from attnjax.typing import DTypeLike, PyTree

__all__ = ["Mixer", "MixerState"]


@pytree_dataclass
class MixerState:
  """State of a mixer between tokens; None for a part that it lacks.

  Args:
    memory: state of the neural memory.
    cache: keys and values of attention.
    segment: of MAC, the memory at the segment's start, and the cache of what
      was recalled from it.

  >>> MixerState(memory=None, cache=None, segment=None).cache is None
  True
  """

  memory: PyTree
  cache: PyTree
  segment: PyTree


class Mixer(nnx.Module):
  """Base of mixers, which have attention, memory, or both.

  >>> from flax import nnx
  >>> from attnjax.nn import MemoryAlone, NeuralMemory
  >>> mixer = MemoryAlone(NeuralMemory(6, 2, rngs=nnx.Rngs(0)))
  >>> mixer.init_state((), 100).cache is None  # it has no attention
  True
  """

  attention: PyTree = None
  memory: PyTree = None

  def init_state(
    self, batch, capacity, dtype: DTypeLike = jnp.float32
  ) -> MixerState:
    """The state before the first token."""
    memory = cache = None
    if self.memory is not None:
      memory = self.memory.init_state(batch, dtype)
    if self.attention is not None:
      cache = self.attention.init_cache(batch, capacity, dtype)
    return MixerState(memory, cache, None)
