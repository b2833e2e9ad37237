"""The block of a decoder that also reads a source."""

import numpy as np
from flax import nnx

from attnjax.nn.attention import MultiHeadAttention
from attnjax.nn.block import FeedForward
from attnjax.nn.norm import make_norm
from attnjax.ops.cache import KeyValueCache
from attnjax.ops.drop import Dropout
from attnjax.ops.masks import Mask
from attnjax.typing import Array, Bool, Float

__all__ = ["CrossBlock"]

_ALL = Dropout(0.0, None)


class CrossBlock(nnx.Module):
  """A pre-norm block of three layers, each adding its change.

      x <- x + self_attention(norm(x))
      x <- x + cross_attention(norm(x), memory)
      x <- x + feed_forward(norm(x))

  The memory comes as keys and values, ``cross_attention.project_memory`` of it:
  they are the same at every step of a decoding. Positions are not encoded in
  them, for those of two sequences are not to be compared.

  Args:
    self_attention: over what was written.
    cross_attention: over the memory.
    feed_forward: position by position.
    width: M.
    norm: "rms" or "layer".
    use_bias: whether layer norms have a bias.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if the norm is neither of the two.

  >>> from attnjax.nn.attention import MultiHeadAttention
  >>> from attnjax.nn.block import FeedForward
  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> rngs = nnx.Rngs(0)
  >>> attention = lambda: MultiHeadAttention(6, 2, rngs=rngs)
  >>> block = CrossBlock(
  ...   attention(), attention(), FeedForward(6, 13, rngs=rngs), width=6,
  ...   rngs=rngs)
  >>> memory = block.cross_attention.project_memory(jnp.ones((7, 6)))
  >>> block(jnp.ones((5, 6)), *memory).shape
  (5, 6)

  Reference:
    Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762, section
    3.1; norms before the layers: Xiong et al., 2020, arXiv 2002.04745.
  """

  def __init__(
    self,
    self_attention: MultiHeadAttention,
    cross_attention: MultiHeadAttention,
    feed_forward: FeedForward,
    *,
    width: int,
    norm: str = "rms",
    use_bias: bool = False,
    rngs: nnx.Rngs,
  ):
    self.self_norm = make_norm(norm, width, use_bias, rngs)
    self.self_attention = self_attention
    self.cross_norm = make_norm(norm, width, use_bias, rngs)
    self.cross_attention = cross_attention
    self.feed_forward_norm = make_norm(norm, width, use_bias, rngs)
    self.feed_forward = feed_forward

  def __call__(
    self,
    x: Float[Array, "*B T M"],
    key: Float[Array, "*B S K D"],
    value: Float[Array, "*B S K E"],
    *,
    memory_mask: Mask | Bool[Array | np.ndarray, "..."] | None = None,
    drop: Dropout = _ALL,
    aux: tuple[str, ...] = (),
    **attend_kw,
  ):
    """The new x.

    Args:
      x: ``*B T M``.
      key: of the memory, ``*B S K D``.
      value: of the memory, ``*B S K E``.
      memory_mask: of the cross-attention, a mask or a bool array that
        broadcasts to ``*B H T S``; None hides nothing.
      drop: thins what each layer adds; by default it keeps all.
      aux: what to keep of both attentions, as in `attnjax.attend`.
      **attend_kw: for the self-attention, such as its mask.

    Returns:
      ``*B T M``; with `aux`, a triple with the `Aux` of either attention.
    """
    found = self.self_attention(self.self_norm(x), aux=aux, **attend_kw)
    change, *own = found if isinstance(found, tuple) else (found,)
    x = x + drop(change, 0)
    x, *read = self._rest(x, key, value, memory_mask, drop, aux)
    return (x, *own, *read) if aux else x

  def decode(
    self,
    x: Float[Array, "*B T M"],
    cache: KeyValueCache,
    key: Float[Array, "*B S K D"],
    value: Float[Array, "*B S K E"],
    *,
    memory_mask: Mask | Bool[Array | np.ndarray, "..."] | None = None,
  ) -> tuple[Float[Array, "*B T M"], KeyValueCache]:
    """The new x of tokens after those in the cache, and the cache with them."""
    change, cache = self.self_attention.decode(self.self_norm(x), cache)
    (x,) = self._rest(x + change, key, value, memory_mask, _ALL, ())
    return x, cache

  def _rest(self, x, key, value, mask, drop, aux):
    """Cross-attention and feed-forward."""
    change = self.cross_attention.read(
      self.cross_norm(x), key, value, mask=mask, aux=aux
    )
    change, *extra = change if aux else (change,)
    x = x + drop(change, 1)
    x = x + drop(self.feed_forward(self.feed_forward_norm(x)), 2)
    return (x, *extra)
