"""Token mixers of Titans: memory as context (MAC), gate (MAG), layer (MAL).

A mixer maps the normalised x of a block to what the block adds to x. Attention
alone and memory alone have the same interface. All are causal, and take either
a whole sequence, or a token at a time with a state of constant size. Where the
paper's equations are not causal, the docstring says what is done instead.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.nn.combined import Combined
from attnjax.nn.initializers import FAN_IN
from attnjax.nn.neural_memory import NeuralMemory, NeuralMemoryState
from attnjax.nn.norm import make_norm
from attnjax.nn.window_attention import WindowAttention
from attnjax.ops.pytree_dataclass import pytree_dataclass
from attnjax.typing import Array, DTypeLike, Float, PyTree

__all__ = [
  "AttentionAlone",
  "MemoryAlone",
  "MemoryAsContext",
  "MemoryAsGate",
  "MemoryAsLayer",
  "MixerState",
]


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


class _Mixer(nnx.Module):
  """Base of mixers, which have attention, memory, or both."""

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


class AttentionAlone(_Mixer):
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

  def decode(self, x: Float[Array, "*B 1 M"], state: MixerState):
    """(change of one more token, state after it)."""
    y, cache = self.attention.decode(x, state.cache)
    return y, MixerState(None, cache, None)


class MemoryAlone(_Mixer):
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

  def decode(self, x: Float[Array, "*B 1 M"], state: MixerState):
    """(change of one more token, state after it)."""
    y, memory = self.memory(x, state.memory)
    return y, MixerState(memory, None, None)


class MemoryAsGate(_Mixer):
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

  def decode(self, x: Float[Array, "*B 1 M"], state: MixerState):
    """(change of one more token, state after it)."""
    y, cache = self.attention.decode(x, state.cache)
    m, memory = self.memory(x, state.memory)
    return self.gated(y, m), MixerState(memory, cache, None)


class MemoryAsLayer(_Mixer):
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

  def decode(self, x: Float[Array, "*B 1 M"], state: MixerState):
    """(change of one more token, state after it)."""
    m, memory = self.memory(x, state.memory)
    y, cache = self.attention.decode(self.norm(x + m), state.cache)
    return m + y, MixerState(memory, cache, None)


@pytree_dataclass
class _Segment:
  """Of MAC: memory at the segment's start, and cache of recalled tokens."""

  start: NeuralMemoryState
  recalls: PyTree


class MemoryAsContext(_Mixer):
  """Attention over segments and tokens recalled by the memory (MAC).

      h[i] = recall(x[i]) from the memory before the segment
      y[i] = x[i] + attention(x[i]; persistent, h[j], x[j], j <= i in the
             segment)
      o[i] = y[i] ⊗ memory(y)[i], which writes y up to i and reads

  where y ⊗ m is that of `Combined`. The paper is not causal in two places. Its
  order [persistent, h, segment] under a causal mask lets a token see the h of
  later tokens; here h[j] has the position of x[j]. And its o reads the memory
  after the whole segment is written; here, after the token's own write.

  In the paper y = attention, with residuals in every block. The residual around
  the attention is part of this layer, as in `MemoryAsLayer`.

  Let the attention begin small, with an `output_init` of a variance far below
  1: the memory stores y, whose key must be that of the token when it is told
  and when it is asked, and whatever attention adds differs between the two. Of
  the questions of a small recall task 0.91, 0.94 and 0.91 were answered (three
  seeds, 500 steps) where it began at a tenth of a token, in seed 0 0.04 (300
  steps) where it began as large as one.

  Args:
    attention: a `WindowAttention` without a window.
    memory: a `NeuralMemory`.
    width: M.
    segment: C, tokens; a multiple of the rule's chunk where its gradients are
      taken at the beginning of chunks.
    combine: "add" or "gate"; see `Combined`.
    output_init: of the map out.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if the attention has a window, or the chunk does not divide the
      segment.

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> from attnjax.memory import titans
  >>> from attnjax.nn import NeuralMemory, WindowAttention
  >>> rngs = nnx.Rngs(0)
  >>> attention = WindowAttention(6, 2, window=None, persistent=2, rngs=rngs)
  >>> layer = NeuralMemory(6, 2, rule=titans(chunk=4), rngs=rngs)
  >>> mixer = MemoryAsContext(attention, layer, width=6, segment=4, rngs=rngs)
  >>> mixer(jnp.ones((5, 6)))[0].shape
  (5, 6)

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans", 2025, arXiv 2501.00663, equations 21 to
    25.
  """

  def __init__(
    self,
    attention: WindowAttention,
    memory: NeuralMemory,
    *,
    width: int,
    segment: int,
    combine: str = "add",
    output_init: Callable = FAN_IN,
    rngs: nnx.Rngs,
  ):
    if attention.window is not None:
      raise ValueError(
        f"MemoryAsContext: its segments are the window; attention has one of"
        f" {attention.window} too, make it None"
      )
    # So that no chunk crosses the border of a segment.
    chunk = memory.rule.chunk if memory.rule.gradients == "chunk" else 1
    if segment < 1 or segment % chunk:
      raise ValueError(
        f"MemoryAsContext: segment must be a multiple of the rule's chunk of"
        f" {chunk}, got {segment}"
      )

    self.attention, self.memory, self.segment = attention, memory, segment
    self.norm = make_norm("rms", width, False, rngs)
    self.gated = Combined(
      width, combine=combine, output_init=output_init, rngs=rngs
    )

  def __call__(self, x: Float[Array, "*B T M"]):
    """(change of each token, memory after the last segment)."""
    # ``*B T M`` to ``*B N C M``, the last segment padded.
    *batch, length, width = x.shape
    number = -(-length // self.segment)
    no_padding = [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, [*no_padding, (0, number * self.segment - length), (0, 0)])
    segments = x.reshape((*batch, number, self.segment, width))

    state, y = jax.lax.scan(
      self._visit,
      jax.tree.map(jnp.asarray, self.memory.init_state(tuple(batch))),
      jnp.moveaxis(segments, -3, 0),
    )

    y = jnp.moveaxis(y, 0, -3).reshape((*batch, number * self.segment, width))
    return y[..., :length, :], state

  def _visit(self, state: NeuralMemoryState, x):
    """(memory, change of each token) after one segment."""
    # Each segment begins a chunk. With a position known to be 0, `stream` need
    # not compile the case of a call that begins within a chunk.
    aligned = state.memory.replace(position=np.zeros((), np.int32))
    state = NeuralMemoryState(aligned, state.tail)
    # Without this residual the memory stores mixtures of tokens, and learned
    # nothing in the recall experiments.
    y = x + self.attention(x, self.memory.recall(x, state))
    m, state = self.memory(self.norm(y), state)
    return jax.tree.map(jnp.asarray, state), self.gated(y, m)

  def init_state(self, batch, capacity, dtype: DTypeLike = jnp.float32):
    """The state before the first token."""
    del capacity  # both caches hold one segment
    memory = jax.tree.map(jnp.asarray, self.memory.init_state(batch, dtype))
    return MixerState(memory, *self._start_segment(memory, batch, dtype))

  def _start_segment(self, memory: NeuralMemoryState, batch, dtype):
    """Cache and segment at a segment's start, with both caches empty."""
    cache = self.attention.init_cache(batch, self.segment, dtype)
    return cache, _Segment(memory, cache)

  def decode(self, x: Float[Array, "*B 1 M"], state: MixerState):
    """(change of one more token, state after it)."""
    segment = state.segment
    h = self.memory.recall(x, segment.start)
    y, cache, recalls = self.attention.decode(
      x, state.cache, (h, segment.recalls)
    )
    y = x + y
    m, memory = self.memory(self.norm(y), state.memory)

    batch, dtype = x.shape[:-2], cache.rows.key.dtype
    # At the end of a segment both caches are emptied, and the memory now
    # becomes that of the next segment's start.
    writes = self.segment * self.memory.writes
    ends = memory.memory.position % writes == 0
    same_one = cache, _Segment(segment.start, recalls)
    next_one = self._start_segment(memory, batch, dtype)
    choose = lambda new, old: jnp.where(ends, new, old)
    cache, segment = jax.tree.map(choose, next_one, same_one)
    return self.gated(y, m), MixerState(memory, cache, segment)
