"""Memory as context (MAC): attention over segments and what is recalled."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.nn.combined import Combined
from attnjax.nn.initializers import FAN_IN
from attnjax.nn.mixer import Mixer, MixerState
from attnjax.nn.neural_memory import NeuralMemory, NeuralMemoryState
from attnjax.nn.norm import make_norm
from attnjax.nn.window_attention import WindowAttention
from attnjax.ops.pytree_dataclass import pytree_dataclass
from attnjax.typing import Array, DTypeLike, Float, PyTree

__all__ = ["MemoryAsContext"]


@pytree_dataclass
class _Segment:
  """Of MAC: memory at the segment's start, and cache of recalled tokens."""

  start: NeuralMemoryState
  recalls: PyTree


class MemoryAsContext(Mixer):
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
    length = x.shape[-2]
    # The last segment is padded.
    over = -length % self.segment
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, over), (0, 0)])
    start = self.memory.init_state(x.shape[:-2])
    y, state = self._visit_all(x, jax.tree.map(jnp.asarray, start))
    return y[..., :length, :], state

  def _visit_all(self, x, state: NeuralMemoryState):
    """(change of each token, memory after them) of whole segments."""
    *batch, _, width = x.shape
    segments = x.reshape((*batch, -1, self.segment, width))
    state, y = jax.lax.scan(self._visit, state, jnp.moveaxis(segments, -3, 0))
    return jnp.moveaxis(y, 0, -3).reshape(x.shape), state

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

  def decode(self, x: Float[Array, "*B T M"], state: MixerState):
    """(change of the next tokens, state after them).

    Whole segments at once, if the state is at the end of one; what is over, and
    tokens after a part of a segment, one by one.
    """
    whole = x.shape[-2] // self.segment * self.segment
    if not whole:
      return self._decode_each(x, state)

    # At the end of a segment the caches are empty, and of the state all is
    # known from the memory.
    y, state = jax.lax.cond(
      jnp.all(state.memory.memory.position % self._writes == 0),
      self._decode_segments,
      # Of the branch that is not taken nothing but its inputs is kept for the
      # gradient.
      jax.checkpoint(self._decode_each),
      x[..., :whole, :],
      state,
    )
    if whole == x.shape[-2]:
      return y, state
    rest, state = self._decode_each(x[..., whole:, :], state)
    return jnp.concatenate([y, rest], axis=-2), state

  @property
  def _writes(self) -> int:
    """Writes of a segment, in which the memory counts its position."""
    return self.segment * self.memory.writes

  def _decode_segments(self, x, state: MixerState):
    """(changes, state) of whole segments, after whole segments."""
    y, new = self._visit_all(x, state.memory)
    # Each visit counts from the start of its segment.
    position = state.memory.memory.position + x.shape[-2] * self.memory.writes
    new = NeuralMemoryState(new.memory.replace(position=position), new.tail)

    dtype = state.cache.rows.key.dtype
    caches = self._start_segment(new, x.shape[:-2], dtype)
    return y, jax.tree.map(jnp.asarray, MixerState(new, *caches))

  def _decode_each(self, x, state: MixerState):
    """(changes, state) of tokens, one after the other."""
    if x.shape[-2] == 1:
      return self._decode_one(x, state)

    step = lambda state, x: self._decode_one(x[..., None, :], state)[::-1]
    state, y = jax.lax.scan(step, state, jnp.moveaxis(x, -2, 0))
    return jnp.moveaxis(y[..., 0, :], 0, -2), state

  def _decode_one(self, x, state: MixerState):
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
    ends = memory.memory.position % self._writes == 0
    same_one = cache, _Segment(segment.start, recalls)
    next_one = self._start_segment(memory, batch, dtype)
    choose = lambda new, old: jnp.where(ends, new, old)
    cache, segment = jax.tree.map(choose, next_one, same_one)
    return self.gated(y, m), MixerState(memory, cache, segment)
