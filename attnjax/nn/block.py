"""The transformer block: attention, then a feed-forward layer, both added."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.nn.attention import MultiHeadAttention
from attnjax.nn.norm import make_norm
from attnjax.ops.cache import KeyValueCache
from attnjax.ops.drop import Dropout
from attnjax.typing import Array, Float

__all__ = ["FeedForward", "TransformerBlock"]

_FAN_IN = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")

_ACTIVATIONS = {
  "gelu": jax.nn.gelu,
  "gelu_erf": lambda x: jax.nn.gelu(x, approximate=False),
  "relu": jax.nn.relu,
  "squared_relu": lambda x: jnp.square(jax.nn.relu(x)),
}


class FeedForward(nnx.Module):
  """A layer of two maps with a nonlinearity between, position by position.

      gelu, relu:    act(x W_up) W_down
      gelu_erf:      gelu by the error function; gelu is its fit by tanh
      squared_relu:  max(x W_up, 0)² W_down
      swiglu:        (silu(x W_gate) ⊙ x W_up) W_down

  Args:
    width: M.
    hidden: F, features between the maps.
    activation: "gelu", "gelu_erf", "relu", "squared_relu" or "swiglu".
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
    output_init: Callable = _FAN_IN,
    rngs: nnx.Rngs,
  ):
    if activation not in (*_ACTIVATIONS, "swiglu"):
      raise ValueError(
        f"FeedForward: activation must be one of {[*_ACTIVATIONS, 'swiglu']},"
        f" got {activation!r}"
      )
    linear = lambda n, m, init: nnx.Linear(
      n, m, use_bias=use_bias, kernel_init=init, rngs=rngs
    )
    gated = activation == "swiglu"
    self.gate = linear(width, hidden, _FAN_IN) if gated else None
    self.up = linear(width, hidden, _FAN_IN)
    self.down = linear(hidden, width, output_init)
    self.activation = activation

  def __call__(self, x: Float[Array, "*B T M"]) -> Float[Array, "*B T M"]:
    """The change that this layer proposes to each position."""
    if self.gate is not None:
      return self.down(jax.nn.silu(self.gate(x)) * self.up(x))
    return self.down(_ACTIVATIONS[self.activation](self.up(x)))


class TransformerBlock(nnx.Module):
  """Two layers, each of which adds its change to x; norms before or after.

      pre:  x <- x + attention(norm(x))    post: x <- norm(x + attention(x))
            x <- x + feed_forward(norm(x))       x <- norm(x + feed_forward(x))

  Args:
    attention: a `MultiHeadAttention`.
    feed_forward: a `FeedForward`.
    width: M.
    norm: "rms" or "layer".
    use_bias: whether layer norms have a bias.
    order: "pre", where x itself is never normalised; or "post", as the first
      transformers had it.
    epsilon: of the norms, added to the mean square or the variance.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if the norm or the order is neither of its two.

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
    2020, arXiv 2002.04745; "post": Vaswani et al., 2017, arXiv 1706.03762.
  """

  def __init__(
    self,
    attention: MultiHeadAttention,
    feed_forward: FeedForward,
    *,
    width: int,
    norm: str = "rms",
    use_bias: bool = False,
    order: Literal["pre", "post"] = "pre",
    epsilon: float = 1e-6,
    rngs: nnx.Rngs,
  ):
    if order not in ("pre", "post"):
      raise ValueError(
        f"TransformerBlock: order must be 'pre' or 'post', got {order!r}"
      )
    make = lambda: make_norm(norm, width, use_bias, rngs, epsilon=epsilon)
    self.attention_norm = make()
    self.attention = attention
    self.feed_forward_norm = make()
    self.feed_forward = feed_forward
    self.order = order

  def __call__(
    self,
    x: Float[Array, "*B T M"],
    *,
    drop: Dropout = Dropout(0.0, None),
    **attend_kw,
  ):
    """The new x; with ``aux=`` a pair, as `attnjax.attend` returns.

    Args:
      x: ``*B T M``.
      drop: thins what each layer adds; by default it keeps all.
      **attend_kw: for the attention.
    """
    change = self.attention(self._before(self.attention_norm, x), **attend_kw)
    change, *aux = change if isinstance(change, tuple) else (change,)
    x = self._rest(x, change, drop)
    return (x, *aux) if aux else x

  def decode(
    self, x: Float[Array, "*B T M"], cache: KeyValueCache, **attend_kw
  ):
    """(x, cache) for new tokens over a cache; with ``aux=`` a triple."""
    change, *state = self.attention.decode(
      self._before(self.attention_norm, x), cache, **attend_kw
    )
    return (self._rest(x, change, Dropout(0.0, None)), *state)

  def _rest(self, x, change, drop):
    """What comes after the attention has proposed its change."""
    x = self._after(self.attention_norm, x + drop(change, 0))
    change = self.feed_forward(self._before(self.feed_forward_norm, x))
    return self._after(self.feed_forward_norm, x + drop(change, 1))

  def _before(self, norm, x):
    """What a layer reads."""
    return norm(x) if self.order == "pre" else x

  def _after(self, norm, x):
    """What stays of x and a layer's change."""
    return norm(x) if self.order == "post" else x
