"""Transformer blocks, without and with cross-attention, and feed-forward."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.nn.attention import MultiHeadAttention
from attnjax.nn.initializers import FAN_IN
from attnjax.nn.latent_attention import LatentAttention
from attnjax.nn.norm import make_norm
from attnjax.ops.activations import ACTIVATIONS, GATED, activated
from attnjax.ops.cache import KeyValueCache
from attnjax.ops.feature_dropout import Dropout
from attnjax.ops.masks import Mask
from attnjax.typing import Array, Bool, Float

__all__ = [
  "ORDERS",
  "CrossBlock",
  "FeedForward",
  "TransformerBlock",
]

_NO_DROPOUT = Dropout(0.0, None)


class FeedForward(nnx.Module):
  """Feed-forward layer: two linear maps of each position, and an activation.

      gelu, relu, silu:  act(x W_up) W_down
      gelu_erf:          by the error function; gelu approximates it by tanh
      quick_gelu:        by a sigmoid, u sigmoid(1.702 u)
      squared_relu:      max(x W_up, 0)² W_down
      swiglu:            (silu(x W_gate) ⊙ x W_up) W_down
      geglu, geglu_erf, reglu: the same with gelu, gelu_erf, relu
      clipped_swiglu:    of clipped factors; see `ops.activations`

  Args:
    width: M.
    hidden: F, features between the maps.
    activation: one of these names.
    use_bias: whether the maps have biases.
    output_init: of the map down.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if the activation is none of these.

  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> layer = FeedForward(3, 7, activation="swiglu", rngs=nnx.Rngs(0))
  >>> layer(jnp.zeros((5, 3))).tolist() == jnp.zeros((5, 3)).tolist()
  True

  Reference:
    Hendrycks, Gimpel, "Gaussian Error Linear Units", 2016, arXiv 1606.08415;
    Shazeer, "GLU Variants Improve Transformer", 2020, arXiv 2002.05202; squared
    ReLU: So et al., "Primer: Searching for Efficient Transformers for Language
    Modeling", 2021, arXiv 2109.08668.
  """

  def __init__(
    self,
    width: int,
    hidden: int,
    *,
    activation: str = "gelu",
    use_bias: bool = False,
    output_init: Callable = FAN_IN,
    rngs: nnx.Rngs,
  ):
    if activation not in ACTIVATIONS:
      raise ValueError(
        f"FeedForward: activation must be one of {[*ACTIVATIONS]}, got"
        f" {activation!r}"
      )

    linear = lambda n, m, init: nnx.Linear(
      n, m, use_bias=use_bias, kernel_init=init, rngs=rngs
    )
    # Three maps: at 2/3 of the hidden width, as many parameters as two.
    gated = activation in GATED
    self.gate = linear(width, hidden, FAN_IN) if gated else None
    self.up = linear(width, hidden, FAN_IN)
    self.down = linear(hidden, width, output_init)
    self.activation = activation

  def __call__(self, x: Float[Array, "*B T M"]) -> Float[Array, "*B T M"]:
    """The output of each position, which a block adds to x."""
    gate = None if self.gate is None else self.gate(x)
    return self.down(activated(self.activation, self.up(x), gate))


ORDERS = ("pre", "post", "output", "sandwich", "parallel", "parallel_one")


class TransformerBlock(nnx.Module):
  """Self-attention and feed-forward with residuals and norms in any order.

      pre:       x <- x + f(norm(x)),  f attention, then feed-forward
      post:      x <- norm(x + f(x))
      output:    x <- x + norm(f(x))
      sandwich:  x <- x + norm'(f(norm(x)))
      parallel:  x <- x + attention(norm(x)) + feed_forward(norm'(x))
      parallel_one: the same with one norm for both

  Args:
    attention: a `MultiHeadAttention` or a `LatentAttention`.
    feed_forward: a `FeedForward` or a `MixtureOfExperts`.
    width: M.
    norm: "rms", "rms_plus_one" or "layer".
    use_bias: whether layer norms have a bias.
    order: one of `ORDERS`; in "post" alone, that of the original transformer,
      the residual stream is normalised.
    epsilon: of the norms, added to the mean square or the variance.
    layer_scale: initial value of a learned factor of each feature that a layer
      adds, x <- x + factor ⊙ f(x); None is no factor.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if the norm or the order is unknown.

  >>> from attnjax.nn.attention import MultiHeadAttention
  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> rngs = nnx.Rngs(0)
  >>> block = TransformerBlock(
  ...   MultiHeadAttention(6, 2, rngs=rngs), FeedForward(6, 13, rngs=rngs),
  ...   width=6, rngs=rngs)
  >>> block(jnp.ones((5, 6))).shape
  (5, 6)

  Reference:
    Xiong et al., "On Layer Normalization in the Transformer Architecture",
    2020, arXiv 2002.04745; "post": Vaswani et al., 2017, arXiv 1706.03762;
    "output": OLMo Team, "2 OLMo 2 Furious", 2025, arXiv 2501.00656; "sandwich":
    Ding et al., "CogView", 2021, arXiv 2105.13290; "parallel": Wang,
    Komatsuzaki, "GPT-J-6B", 2021, and Black et al., "GPT-NeoX-20B", 2022, arXiv
    2204.06745; factors of features: Touvron et al., "Going Deeper with Image
    Transformers", 2021, arXiv 2103.17239.
  """

  def __init__(
    self,
    attention: MultiHeadAttention | LatentAttention,
    feed_forward: Callable,
    *,
    width: int,
    norm: str = "rms",
    use_bias: bool = False,
    order: str = "pre",
    epsilon: float = 1e-6,
    layer_scale: float | None = None,
    rngs: nnx.Rngs,
  ):
    if order not in ORDERS:
      raise ValueError(
        f"TransformerBlock: order must be one of {[*ORDERS]}, got {order!r}"
      )
    make = lambda: make_norm(norm, width, use_bias, rngs, epsilon=epsilon)
    sandwich = order == "sandwich"
    self.attention_norm = make()
    self.attention: Any = attention
    self.attention_output_norm = make() if sandwich else None
    # Any: of no union of types would a checker allow `.scale`.
    self.feed_forward_norm: Any = None if order == "parallel_one" else make()
    self.feed_forward: Any = feed_forward
    self.feed_forward_output_norm = make() if sandwich else None
    factor = lambda: (
      None
      if layer_scale is None
      else nnx.Param(jnp.full((width,), layer_scale, jnp.float32))
    )
    self.attention_scale, self.feed_forward_scale = factor(), factor()
    self.order = order

  def __call__(
    self,
    x: Float[Array, "*B T M"],
    *,
    drop: Dropout = _NO_DROPOUT,
    first_norm: bool = True,
    **attend_kw,
  ):
    """x after the block; with ``aux=`` a pair, as `attnjax.attend` returns.

    Args:
      x: ``*B T M``.
      drop: dropout of what each layer adds; by default none.
      first_norm: whether a norm before the attention is applied; not where x
        is normalised already.
      **attend_kw: for the attention.
    """
    inputs = self._before(self.attention_norm, x) if first_norm else x
    change = self.attention(inputs, **attend_kw)
    change, *aux = change if isinstance(change, tuple) else (change,)
    x = self._add(x, change, drop)
    return (x, *aux) if aux else x

  def decode(
    self, x: Float[Array, "*B T M"], cache: KeyValueCache, **attend_kw
  ):
    """(x, cache) for new tokens over a cache; with ``aux=`` a triple."""
    change, *state = self.attention.decode(
      self._before(self.attention_norm, x), cache, **attend_kw
    )
    # No dropout: `decode` is for generation, training reads whole sequences.
    return (self._add(x, change, _NO_DROPOUT), *state)

  def _add(self, x, change, drop):
    """x plus the attention's output, then plus the feed-forward layer's."""
    first, second = self.attention_norm, self.feed_forward_norm
    change = self._changed(first, self.attention_output_norm, change)
    change = _scaled(change, self.attention_scale)
    # Each dropout has a number of its own, so that their masks differ.
    added = self._after(first, x + drop(change, 0))

    # In parallel both layers read x as it was before the block.
    x = x if self.order.startswith("parallel") else added
    inputs = self._before(first if second is None else second, x)
    change = self._changed(
      second, self.feed_forward_output_norm, self.feed_forward(inputs)
    )
    change = _scaled(change, self.feed_forward_scale)
    return self._after(second, added + drop(change, 1))

  def _before(self, norm, x):
    """The input of a layer: normalised unless the norms come later."""
    return x if self.order in ("post", "output") else norm(x)

  def _changed(self, norm, output_norm, change):
    """What a layer adds: normalised in the orders "output" and "sandwich"."""
    if self.order == "output":
      return norm(change)
    return change if output_norm is None else output_norm(change)

  def _after(self, norm, x):
    """x after a residual addition: normalised in post-norm."""
    return norm(x) if self.order == "post" else x


def _scaled(change, factor: nnx.Param | None):
  """What a layer adds, times a factor of each feature if there is one."""
  if factor is None:
    return change
  return change * factor[...].reshape((1,) * (change.ndim - 1) + (-1,))


class CrossBlock(nnx.Module):
  """A pre-norm decoder block with cross-attention over a memory.

      x <- x + self_attention(norm(x))
      x <- x + cross_attention(norm(x), memory)
      x <- x + feed_forward(norm(x))

  The memory is given as keys and values, ``cross_attention.project_memory`` of
  it, which are computed once for all steps of decoding. Positions are not
  encoded, because those of two sequences are not comparable.

  Args:
    self_attention: over the tokens themselves.
    cross_attention: over the memory.
    feed_forward: position by position.
    width: M.
    norm: "rms" or "layer".
    use_bias: whether layer norms have a bias.
    epsilon: of the norms, added to the mean square or the variance.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if the norm is neither of the two.

  >>> from attnjax.nn.attention import MultiHeadAttention
  >>> from attnjax.nn.transformer_block import FeedForward
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
    epsilon: float = 1e-6,
    rngs: nnx.Rngs,
  ):
    make = lambda: make_norm(norm, width, use_bias, rngs, epsilon=epsilon)
    self.self_norm = make()
    self.self_attention = self_attention
    self.cross_norm = make()
    self.cross_attention = cross_attention
    self.feed_forward_norm = make()
    self.feed_forward = feed_forward

  def __call__(
    self,
    x: Float[Array, "*B T M"],
    key: Float[Array, "*B S K D"],
    value: Float[Array, "*B S K E"],
    *,
    memory_mask: Mask | Bool[Array | np.ndarray, "..."] | None = None,
    drop: Dropout = _NO_DROPOUT,
    aux: tuple[str, ...] = (),
    **attend_kw,
  ):
    """x after the block.

    Args:
      x: ``*B T M``.
      key: of the memory, ``*B S K D``.
      value: of the memory, ``*B S K E``.
      memory_mask: of the cross-attention, a mask or a bool array that
        broadcasts to ``*B H T S``; None masks nothing.
      drop: dropout of what each layer adds; by default none.
      aux: what to return of both attentions, as in `attnjax.attend`.
      **attend_kw: for the self-attention, such as its mask.

    Returns:
      ``*B T M``; with `aux`, a triple with the `Aux` of either attention.
    """
    # What `attend_kw` holds is for the tokens' own axis, so that the attention
    # over the memory takes none of it.
    found = self.self_attention(self.self_norm(x), aux=aux, **attend_kw)
    change, *own = found if isinstance(found, tuple) else (found,)
    x = x + drop(change, 0)
    x, *read = self._read_memory(x, key, value, memory_mask, drop, aux)
    return (x, *own, *read) if aux else x

  def decode(
    self,
    x: Float[Array, "*B T M"],
    cache: KeyValueCache,
    key: Float[Array, "*B S K D"],
    value: Float[Array, "*B S K E"],
    *,
    memory_mask: Mask | Bool[Array | np.ndarray, "..."] | None = None,
    **attend_kw,
  ) -> tuple[Float[Array, "*B T M"], KeyValueCache]:
    """(x of new tokens after those in the cache, new cache)."""
    change, cache = self.self_attention.decode(
      self.self_norm(x), cache, **attend_kw
    )
    (x,) = self._read_memory(
      x + change, key, value, memory_mask, _NO_DROPOUT, ()
    )
    return x, cache

  def _read_memory(self, x, key, value, mask, drop, aux):
    """x after cross-attention and feed-forward, and the `Aux` in `aux`."""
    change = self.cross_attention.read(
      self.cross_norm(x), key, value, mask=mask, aux=aux
    )
    change, *extra = change if aux else (change,)
    x = x + drop(change, 1)
    x = x + drop(self.feed_forward(self.feed_forward_norm(x)), 2)
    return (x, *extra)
