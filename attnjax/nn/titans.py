"""Where a memory stands beside attention: MAG, MAL, and alone; MAC has a file.

Each is what a block adds to x, of the normalised x. Each reads a sequence at
once, or a token at a time with a state of constant size, and never knows a
later token; where the paper's text would, the docstring says what is done.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.nn.memory import NeuralMemory
from attnjax.nn.norm import make_norm
from attnjax.nn.window import WindowAttention
from attnjax.ops.node import node
from attnjax.typing import Array, DTypeLike, Float

__all__ = [
  "AttentionAlone",
  "MemoryAlone",
  "MemoryAsGate",
  "MemoryAsLayer",
  "MixerState",
]

_FAN_IN = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")


@node
class MixerState:
  """What a mixer carries from token to token.

  Args:
    memory: of the neural memory.
    cache: keys and values of attention, where there is some.
    segment: what MAC knows of its segment: the memory as it began, and the
      cache of what that recalled.

  >>> MixerState(memory=None, cache=None, segment=None).cache is None
  True
  """

  memory: Any
  cache: Any
  segment: Any


class Gated(nnx.Module):
  """Two views of a token made one, o = (norm_1(y) ⊙ σ(norm_2(m))) W_o.

  The paper says: normalised by learned vectors, then a nonlinearity. Which of
  the two is squashed is our choice: the memory says how much of the attention
  passes.

  Args:
    width: M.
    output_init: of the map out.
    rngs: Flax NNX random streams; uses "params".

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> Gated(3, rngs=nnx.Rngs(0))(jnp.zeros(3), jnp.ones(3)).tolist()
  [0.0, 0.0, 0.0]
  """

  def __init__(
    self, width: int, *, output_init: Callable = _FAN_IN, rngs: nnx.Rngs
  ):
    self.norm = make_norm("rms", width, False, rngs)
    self.memory_norm = make_norm("rms", width, False, rngs)
    self.output = nnx.Linear(
      width, width, use_bias=False, kernel_init=output_init, rngs=rngs
    )

  def __call__(self, y, m):
    """What both say."""
    passes = jax.nn.sigmoid(self.memory_norm(m))
    return self.output(self.norm(y) * passes)


class AttentionAlone(nnx.Module):
  """Attention as the only thing that mixes tokens, called as the others are.

  Args:
    attention: a `WindowAttention`.

  >>> import jax.numpy as jnp
  >>> from attnjax.nn.window import WindowAttention
  >>> from flax import nnx
  >>> attention = WindowAttention(6, 2, window=3, rngs=nnx.Rngs(0))
  >>> AttentionAlone(attention)(jnp.ones((5, 6)))[1] is None
  True
  """

  def __init__(self, attention: WindowAttention):
    self.attention = attention

  def __call__(self, x: Float[Array, "*B T M"]):
    """The change of each token, and no memory."""
    return self.attention(x), None

  def init_state(self, batch, capacity, dtype: DTypeLike = jnp.float32):
    """The state before the first token."""
    cache = self.attention.init_cache(batch, capacity, dtype)
    return MixerState(None, cache, None)

  def decode(self, x: Float[Array, "*B 1 M"], state: MixerState):
    """The change of one token more, and the state after it."""
    y, cache = self.attention.decode(x, state.cache)
    return y, MixerState(None, cache, None)


class MemoryAlone(nnx.Module):
  """The memory as the only thing that mixes tokens (LMM).

  Args:
    memory: a `NeuralMemory`.

  >>> import jax.numpy as jnp
  >>> from attnjax.nn.memory import NeuralMemory
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
    """The change of each token, and the memory after the last."""
    return self.memory(x)

  def init_state(self, batch, capacity, dtype: DTypeLike = jnp.float32):
    """The state before the first token."""
    return MixerState(self.memory.init_state(batch, dtype), None, None)

  def decode(self, x: Float[Array, "*B 1 M"], state: MixerState):
    """The change of one token more, and the state after it."""
    y, held = self.memory(x, state.memory)
    return y, MixerState(held, None, None)


class MemoryAsGate(nnx.Module):
  """Attention over a window, gated by what the memory answers (MAG).

      o = attention(x) ⊗ memory(x)

  with ⊗ of `Gated`. The persistent tokens are seen by the attention; the memory
  reads the sequence.

  Args:
    attention: a `WindowAttention`.
    memory: a `NeuralMemory`.
    width: M.
    output_init: of the map out.
    rngs: Flax NNX random streams; uses "params".

  >>> import jax.numpy as jnp
  >>> from attnjax.nn.memory import NeuralMemory
  >>> from attnjax.nn.window import WindowAttention
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
    output_init: Callable = _FAN_IN,
    rngs: nnx.Rngs,
  ):
    self.attention, self.memory = attention, memory
    self.gated = Gated(width, output_init=output_init, rngs=rngs)

  def __call__(self, x: Float[Array, "*B T M"]):
    """The change of each token, and the memory after the last."""
    m, held = self.memory(x)
    return self.gated(self.attention(x), m), held

  def init_state(self, batch, capacity, dtype: DTypeLike = jnp.float32):
    """The state before the first token."""
    cache = self.attention.init_cache(batch, capacity, dtype)
    return MixerState(self.memory.init_state(batch, dtype), cache, None)

  def decode(self, x: Float[Array, "*B 1 M"], state: MixerState):
    """The change of one token more, and the state after it."""
    y, cache = self.attention.decode(x, state.cache)
    m, held = self.memory(x, state.memory)
    return self.gated(y, m), MixerState(held, cache, None)


class MemoryAsLayer(nnx.Module):
  """The memory, and attention over a window of what it made (MAL).

      o = attention(norm(x + memory(x)))

  The paper has y = memory(x), o = attention(y), and residuals in every block;
  the one around the memory is written out here.

  Args:
    attention: a `WindowAttention`.
    memory: a `NeuralMemory`.
    width: M.
    rngs: Flax NNX random streams; uses "params".

  >>> import jax.numpy as jnp
  >>> from attnjax.nn.memory import NeuralMemory
  >>> from attnjax.nn.window import WindowAttention
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
    """The change of each token, and the memory after the last."""
    m, held = self.memory(x)
    return self.attention(self.norm(x + m)), held

  def init_state(self, batch, capacity, dtype: DTypeLike = jnp.float32):
    """The state before the first token."""
    cache = self.attention.init_cache(batch, capacity, dtype)
    return MixerState(self.memory.init_state(batch, dtype), cache, None)

  def decode(self, x: Float[Array, "*B 1 M"], state: MixerState):
    """The change of one token more, and the state after it."""
    m, held = self.memory(x, state.memory)
    y, cache = self.attention.decode(self.norm(x + m), state.cache)
    return y, MixerState(held, cache, None)
