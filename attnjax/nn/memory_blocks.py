"""Token mixers of Titans: attention or memory alone, as gate, as layer.

A mixer maps the normalised x of a block to what the block adds to x. Attention
alone and memory alone have the same interface. All are causal, and take a whole
sequence, or the next tokens with a state of constant size. Where the paper's
equations are not causal, the docstring says what is done instead.
"""

from collections.abc import Callable

from flax import nnx

from attnjax.moved import forward_names
from attnjax.nn.combined import Combined
from attnjax.nn.initializers import FAN_IN
from attnjax.nn.mixer import Mixer, MixerState
from attnjax.nn.neural_memory import NeuralMemory
from attnjax.nn.norm import make_norm
from attnjax.nn.window_attention import WindowAttention
from attnjax.typing import Array, Float

__all__ = ["AttentionAlone", "MemoryAlone", "MemoryAsGate", "MemoryAsLayer"]


class AttentionAlone(Mixer):
  """A mixer of attention alone, the baseline of the others.

  Args:
    attention: a `WindowAttention`.

  >>> import jax.numpy as jnp
  >>> from attnjax.nn.window_attention import WindowAttention
  >>> from flax import nnx
  >>> attention = WindowAttention(6, 2, window=3, rngs=nnx.Rngs(0))
  >>> AttentionAlone(attention)(jnp.ones((5, 6)))[1] is None
  True
  """

  def __init__(self, attention: WindowAttention):
    self.attention = attention

  def __call__(self, x: Float[Array, "*B T M"]):
    """(change of each token, None)."""
    return self.attention(x), None

  def decode(self, x: Float[Array, "*B T M"], state: MixerState):
    """(change of the next tokens, state after them)."""
    y, cache = self.attention.decode(x, state.cache)
    return y, MixerState(None, cache, None)


class MemoryAlone(Mixer):
  """A mixer of memory alone (LMM).

  Args:
    memory: a `NeuralMemory`.

  >>> import jax.numpy as jnp
  >>> from attnjax.nn.neural_memory import NeuralMemory
  >>> from flax import nnx
  >>> layer = MemoryAlone(NeuralMemory(6, 2, rngs=nnx.Rngs(0)))
  >>> layer(jnp.ones((5, 6)))[0].shape
  (5, 6)

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans", 2025, arXiv 2501.00663, section 4.
  """

  def __init__(self, memory: NeuralMemory):
    self.memory = memory

  def __call__(self, x: Float[Array, "*B T M"]):
    """(change of each token, state of the memory after the last)."""
    return self.memory(x)

  def decode(self, x: Float[Array, "*B T M"], state: MixerState):
    """(change of the next tokens, state after them)."""
    y, memory = self.memory(x, state.memory)
    return y, MixerState(memory, None, None)


class MemoryAsGate(Mixer):
  """Attention over a window beside the memory (MAG), added or gated by it.

      o = attention(x) ⊗ memory(x)

  where y ⊗ m is that of `Combined`: by default their normalised sum. The
  attention sees the persistent tokens, the memory reads the sequence alone.

  Args:
    attention: a `WindowAttention`.
    memory: a `NeuralMemory`.
    width: M.
    combine: "add" or "gate"; see `Combined`.
    output_init: of the map out.
    rngs: Flax NNX random streams; uses "params".

  >>> import jax.numpy as jnp
  >>> from attnjax.nn import NeuralMemory, WindowAttention
  >>> from flax import nnx
  >>> rngs = nnx.Rngs(0)
  >>> attention = WindowAttention(6, 2, window=3, persistent=2, rngs=rngs)
  >>> layer = MemoryAsGate(
  ...   attention, NeuralMemory(6, 2, rngs=rngs), width=6, rngs=rngs)
  >>> layer(jnp.ones((5, 6)))[0].shape
  (5, 6)

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans", 2025, arXiv 2501.00663, equations 26 to
    28.
  """

  def __init__(
    self,
    attention: WindowAttention,
    memory: NeuralMemory,
    *,
    width: int,
    combine: str = "add",
    output_init: Callable = FAN_IN,
    rngs: nnx.Rngs,
  ):
    self.attention, self.memory = attention, memory
    self.gated = Combined(
      width, combine=combine, output_init=output_init, rngs=rngs
    )

  def __call__(self, x: Float[Array, "*B T M"]):
    """(change of each token, state of the memory after the last)."""
    m, memory = self.memory(x)
    return self.gated(self.attention(x), m), memory

  def decode(self, x: Float[Array, "*B T M"], state: MixerState):
    """(change of the next tokens, state after them)."""
    y, cache = self.attention.decode(x, state.cache)
    m, memory = self.memory(x, state.memory)
    return self.gated(y, m), MixerState(memory, cache, None)


class MemoryAsLayer(Mixer):
  """Memory, then attention over a window of its output (MAL).

      m = memory(x),   o = m + attention(norm(x + m))

  The paper has y = memory(x), o = attention(y), and residuals in every block.
  Here the memory and the attention each have a residual. Without that of the
  memory, what it recalled reaches the block's output through attention alone,
  and it learns to recall far slower.

  Args:
    attention: a `WindowAttention`.
    memory: a `NeuralMemory`.
    width: M.
    rngs: Flax NNX random streams; uses "params".

  >>> import jax.numpy as jnp
  >>> from attnjax.nn import NeuralMemory, WindowAttention
  >>> from flax import nnx
  >>> rngs = nnx.Rngs(0)
  >>> attention = WindowAttention(6, 2, window=3, rngs=rngs)
  >>> layer = MemoryAsLayer(
  ...   attention, NeuralMemory(6, 2, rngs=rngs), width=6, rngs=rngs)
  >>> layer(jnp.ones((5, 6)))[0].shape
  (5, 6)

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans", 2025, arXiv 2501.00663, equations 29 to
    31.
  """

  def __init__(
    self,
    attention: WindowAttention,
    memory: NeuralMemory,
    *,
    width: int,
    rngs: nnx.Rngs,
  ):
    self.attention, self.memory = attention, memory
    self.norm = make_norm("rms", width, False, rngs)

  def __call__(self, x: Float[Array, "*B T M"]):
    """(change of each token, state of the memory after the last)."""
    m, memory = self.memory(x)
    return m + self.attention(self.norm(x + m)), memory

  def decode(self, x: Float[Array, "*B T M"], state: MixerState):
    """(change of the next tokens, state after them)."""
    m, memory = self.memory(x, state.memory)
    y, cache = self.attention.decode(self.norm(x + m), state.cache)
    return m + y, MixerState(memory, cache, None)


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
