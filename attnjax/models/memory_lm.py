"""A language model whose memory does not end with its window."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.models.memory_config import (
  MemoryLMConfig,
  make_feed_forward,
  make_mixer,
)
from attnjax.nn import Embedding
from attnjax.nn.norm import make_norm
from attnjax.ops.attention import attend as default_attend
from attnjax.typing import Array, DTypeLike, Float, Int

__all__ = ["MemoryLM", "MemoryLMConfig", "norms_by_layer"]


class _Block(nnx.Module):
  """Two layers, each of which adds its change: what mixes, and what maps."""

  def __init__(self, config: MemoryLMConfig, attend: Callable, rngs: nnx.Rngs):
    norm = lambda: make_norm("rms", config.width, False, rngs)
    self.mixer_norm = norm()
    self.mixer: Any = make_mixer(config, attend, rngs)
    self.feed_forward_norm = norm()
    self.feed_forward = make_feed_forward(config, rngs)

  def __call__(self, x):
    """The new x, and the size of each memory at the end, ``*B H``."""
    change, held = self.mixer(self.mixer_norm(x))
    size = None if held is None else held.memory.norm
    return self._rest(x, change), size

  def init_state(self, batch, capacity: int, dtype: DTypeLike):
    """What the block carries from token to token."""
    state = self.mixer.init_state(batch, capacity, dtype)
    return jax.tree.map(jnp.asarray, state)

  def decode(self, x, state):
    """The new x of one token, and the state after it."""
    change, state = self.mixer.decode(self.mixer_norm(x), state)
    return self._rest(x, change), state

  def _rest(self, x, change):
    x = x + change
    return x + self.feed_forward(self.feed_forward_norm(x))


class MemoryLM(nnx.Module):
  """A decoder of blocks that mix by attention, by a memory, or by both.

      x      = embed(tokens)
      x      = block[l](x), l = 0 .. L-1, causal
      logits = norm(x) · table

  It knows no position but by distance, in half of the heads of attention, so
  that it can read on beyond the lengths it was trained on. Documents are not
  kept apart: a memory has no segment ids.

  Args:
    config: sizes and choices.
    vocabulary: V, tokens.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: from the parts, if sizes do not fit.

  >>> import jax.numpy as jnp
  >>> from attnjax.models.memory_config import MemoryLMConfig
  >>> from flax import nnx
  >>> config = MemoryLMConfig(
  ...   architecture="memory", rule="delta_net", width=8, depth=1, heads=2,
  ...   hidden=16)
  >>> model = MemoryLM(config, 11, rngs=nnx.Rngs(0))
  >>> first, second = jnp.array([3, 1, 4]), jnp.array([3, 1, 5])
  >>> bool((model(first)[:2] == model(second)[:2]).all())
  True

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans: Learning to Memorize at Test Time", 2025,
    arXiv 2501.00663, section 4.
  """

  # `generate` asks: nothing limits a length, and a memory knows no padding.
  position_table = None
  ragged = False

  def __init__(
    self,
    config: MemoryLMConfig,
    vocabulary: int,
    *,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    self.config, self.vocabulary = config, vocabulary
    self.embed = Embedding(vocabulary, config.width, rngs=rngs)
    block = lambda key: _Block(config, attend, nnx.Rngs(key))
    self.blocks = jax.vmap(block)(jax.random.split(rngs.params(), config.depth))
    self.norm = make_norm("rms", config.width, False, rngs)

  def __call__(self, tokens: Int[Array, "*B T"], *, norms: bool = False):
    """Logits of the next token at every position.

    Args:
      tokens: int ``*B T``, in [0, V); another id makes its row NaN.
      norms: whether to return the size of the memories too: what to watch in
        training.

    Returns:
      float32 ``*B T V``; with `norms` a pair, with ``L *B H`` or None where
      there is no memory.
    """
    x, sizes = jax.lax.scan(
      lambda x, block: block(x),
      self.embed(tokens),
      self.blocks,
      unroll=self.config.unroll,
    )
    logits = self.embed.logits(self.norm(x))
    return (logits, sizes) if norms else logits

  def init_cache(
    self,
    batch: tuple[int, ...],
    capacity: int,
    dtype: DTypeLike = jnp.float32,
  ) -> Any:
    """What every block carries, stacked as the blocks are.

    Args:
      batch: sizes of the batch axes ``*B``.
      capacity: tokens that attention without a window may read; of no use to
        the others, whose state has a constant size.
      dtype: float32 or wider.
    """
    one = lambda block: block.init_state(batch, capacity, dtype)
    return jax.vmap(one)(self.blocks)

  def decode(
    self,
    tokens: Int[Array, "*B T"],
    cache: Any,
    *,
    lengths: Int[Array, "*B"] | None = None,
  ):
    """Logits of new tokens, given all that was read: token after token.

    Args:
      tokens: int ``*B T``, a prompt or one token.
      cache: from `init_cache`, or from the call before.
      lengths: None: a memory has no padding, rows read as far as each other.

    Returns:
      Logits ``*B T V``, and what was read, the new tokens too.

    Raises:
      ValueError: if lengths are given.
    """
    if lengths is not None:
      raise ValueError(
        "MemoryLM: every row must be as long as the others, got lengths; a"
        " memory cannot leave padding out; decode rows of one length together"
      )

    def read(cache, token):
      layer = lambda x, both: both[0].decode(x, both[1])
      x = self.embed(token[..., None])
      x, cache = jax.lax.scan(layer, x, (self.blocks, cache))
      return cache, self.embed.logits(self.norm(x))[..., 0, :]

    cache, logits = jax.lax.scan(read, cache, jnp.moveaxis(tokens, -1, 0))
    return jnp.moveaxis(logits, 0, -2), cache


def norms_by_layer(sizes: Float[Array, "L *B H"] | None) -> dict[str, Array]:
  """The largest memory of each layer, by a name that training watches.

  Where one is no finite number training stops, and names the layer and the
  step; see `training.train`.

  Args:
    sizes: ``L *B H``, of `MemoryLM` with ``norms=True``; None where there is no
      memory.

  >>> import jax.numpy as jnp
  >>> norms_by_layer(jnp.array([[1.0, 3.0], [2.0, 0.0]]))
  {'layer0_memory_norm': Array(3., dtype=float32), 'layer1_memory_norm': ...}
  """
  if sizes is None:
    return {}
  return {
    f"layer{layer}_memory_norm": size.max() for layer, size in enumerate(sizes)
  }
