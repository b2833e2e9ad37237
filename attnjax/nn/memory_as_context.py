"""The memory as context: what it recalls is attended to beside the segment."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.nn.memory import NeuralMemory, NeuralMemoryState
from attnjax.nn.norm import make_norm
from attnjax.nn.titans import Gated, MixerState
from attnjax.nn.window import WindowAttention
from attnjax.ops.node import node
from attnjax.typing import Array, DTypeLike, Float

__all__ = ["MemoryAsContext"]

_FAN_IN = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")


@node
class _Segment:
  """The memory as the segment began, and the cache of what it recalled."""

  began: NeuralMemoryState
  recalled: object


class MemoryAsContext(nnx.Module):
  """Attention over segments, each beside what the memory knew before it (MAC).

      h[i] = recall(x[i]) from the memory before the segment
      y[i] = x[i] + attention(x[i]; persistent, h[j], x[j], j <= i in the
             segment)
      o[i] = y[i] ⊗ memory(y)[i], which writes y up to i and reads

  with ⊗ of `Gated`. Two places of the paper would let a token know later ones.
  Its order [persistent, h, segment] under a plain causal mask shows a token the
  h of later tokens: here h[j] stands at the position of x[j]. And its o reads
  the memory after the whole segment was written: here after the token's own
  write. It has y = attention, and residuals in every block: the one around the
  attention is written out here, as in `MemoryAsLayer`. Without it the memory is
  told mixtures of tokens, and was seen to learn nothing of what it can with it.

  Args:
    attention: a `WindowAttention` without a window.
    memory: a `NeuralMemory`.
    width: M.
    segment: C, tokens; a multiple of the rule's chunk where its gradients are
      taken at the beginning of chunks.
    output_init: of the map out.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if the attention has a window, or the chunk does not divide the
      segment.

  >>> import jax.numpy as jnp
  >>> from attnjax.nn.memory import NeuralMemory
  >>> from attnjax.nn.window import WindowAttention
  >>> from flax import nnx
  >>> from attnjax import memory
  >>> rngs = nnx.Rngs(0)
  >>> attention = WindowAttention(6, 2, window=None, persistent=2, rngs=rngs)
  >>> held = NeuralMemory(6, 2, rule=memory.titans(chunk=4), rngs=rngs)
  >>> layer = MemoryAsContext(attention, held, width=6, segment=4, rngs=rngs)
  >>> layer(jnp.ones((5, 6)))[0].shape
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
    output_init: Callable = _FAN_IN,
    rngs: nnx.Rngs,
  ):
    if attention.window is not None:
      raise ValueError(
        f"MemoryAsContext: its segments are the window; attention has one of"
        f" {attention.window} too, make it None"
      )
    chunk = memory.rule.chunk if memory.rule.gradients == "chunk" else 1
    if segment < 1 or segment % chunk:
      raise ValueError(
        f"MemoryAsContext: segment must be a multiple of the rule's chunk of"
        f" {chunk}, got {segment}"
      )
    self.attention, self.memory, self.segment = attention, memory, segment
    self.norm = make_norm("rms", width, False, rngs)
    self.gated = Gated(width, output_init=output_init, rngs=rngs)

  def __call__(self, x: Float[Array, "*B T M"]):
    """The change of each token, and the memory after the last segment."""
    *batch, length, width = x.shape
    number = -(-length // self.segment)
    blank = [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, [*blank, (0, number * self.segment - length), (0, 0)])
    segments = x.reshape((*batch, number, self.segment, width))
    state, y = jax.lax.scan(
      self._visit,
      self._settled(self.memory.init_state(tuple(batch))),
      jnp.moveaxis(segments, -3, 0),
    )
    y = jnp.moveaxis(y, 0, -3).reshape((*batch, number * self.segment, width))
    return y[..., :length, :], state

  def _visit(self, state: NeuralMemoryState, x):
    """One segment; the memory after it."""
    # A segment begins with a chunk: said so, the program need not ask.
    begun = state.memory.replace(position=np.zeros((), np.int32))
    state = NeuralMemoryState(begun, state.tail)
    y = x + self.attention(x, self.memory.recall(x, state))
    m, state = self.memory(self.norm(y), state)
    return self._settled(state), self.gated(y, m)

  @staticmethod
  def _settled(state: NeuralMemoryState) -> NeuralMemoryState:
    """The state as arrays, as a loop carries it."""
    return jax.tree.map(jnp.asarray, state)

  def init_state(self, batch, capacity, dtype: DTypeLike = jnp.float32):
    """The state before the first token."""
    held = self._settled(self.memory.init_state(batch, dtype))
    return MixerState(held, *self._fresh(held, batch, dtype))

  def _fresh(self, held: NeuralMemoryState, batch, dtype):
    """What a segment begins with: empty caches, and the memory as it is."""
    cache = self.attention.init_cache(batch, self.segment, dtype)
    return cache, _Segment(held, cache)

  def decode(self, x: Float[Array, "*B 1 M"], state: MixerState):
    """The change of one token more, and the state after it."""
    segment = state.segment
    h = self.memory.recall(x, segment.began)
    y, cache, recalled = self.attention.decode(
      x, state.cache, (h, segment.recalled)
    )
    y = x + y
    m, held = self.memory(self.norm(y), state.memory)
    batch, dtype = x.shape[:-2], cache.rows.key.dtype
    ends = held.memory.position % self.segment == 0
    go_on = cache, _Segment(segment.began, recalled)
    anew = self._fresh(held, batch, dtype)
    choose = lambda new, old: jnp.where(ends, new, old)
    cache, segment = jax.tree.map(choose, anew, go_on)
    return self.gated(y, m), MixerState(held, cache, segment)
