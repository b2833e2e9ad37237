"""The transformer block: attention, then a feed-forward layer, both added."""

from collections.abc import Callable

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
  "relu": jax.nn.relu,
  "squared_relu": lambda x: jnp.square(jax.nn.relu(x)),
}


class FeedForward(nnx.Module):
  """A layer of two maps with a nonlinearity between, position by position.

      gelu, relu:    act(x W_up) W_down
      squared_relu:  max(x W_up, 0)² W_down
      swiglu:        (silu(x W_gate) ⊙ x W_up) W_down

  Args:
    width: M.
    hidden: F, features between the maps.
    activation: "gelu", "relu", "squared_relu" or "swiglu".
    use_bias: whether the maps have biases.
    output_init: of the map down.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if the activation is none of these.

  >>> import jax.numpy as jnp
  >>> layer = FeedForward(3, 7, activation="swiglu", rngs=nnx.Rngs(0))
  >>> layer(jnp.zeros((5, 3))).tolist() == jnp.zeros((5, 3)).tolist()
  True

  Reference:
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
  """A pre-norm block: each layer reads a normalised x and adds its change.

      x <- x + attention(norm(x))
      x <- x + feed_forward(norm(x))

  Args:
    attention: a `MultiHeadAttention`.
    feed_forward: a `FeedForward`.
    width: M.
    norm: "rms" or "layer".
    use_bias: whether layer norms have a bias.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if the norm is neither of the two.

  >>> import jax.numpy as jnp
  >>> rngs = nnx.Rngs(0)
  >>> block = TransformerBlock(
  ...   MultiHeadAttention(6, 2, rngs=rngs), FeedForward(6, 13, rngs=rngs),
  ...   width=6, rngs=rngs)
  >>> block(jnp.ones((5, 6))).shape
  (5, 6)

  Reference:
    Xiong et al., "On Layer Normalization in the Transformer Architecture",
    2020, arXiv 2002.04745.
  """

  def __init__(
    self,
    attention: MultiHeadAttention,
    feed_forward: FeedForward,
    *,
    width: int,
    norm: str = "rms",
    use_bias: bool = False,
    rngs: nnx.Rngs,
  ):
    self.attention_norm = make_norm(norm, width, use_bias, rngs)
    self.attention = attention
    self.feed_forward_norm = make_norm(norm, width, use_bias, rngs)
    self.feed_forward = feed_forward

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
    change = self.attention(self.attention_norm(x), **attend_kw)
    change, *aux = change if isinstance(change, tuple) else (change,)
    x = x + drop(change, 0)
    x = x + drop(self.feed_forward(self.feed_forward_norm(x)), 1)
    return (x, *aux) if aux else x

  def decode(
    self, x: Float[Array, "*B T M"], cache: KeyValueCache, **attend_kw
  ):
    """(x, cache) for new tokens over a cache; with ``aux=`` a triple."""
    change, *state = self.attention.decode(
      self.attention_norm(x), cache, **attend_kw
    )
    x = x + change
    return (x + self.feed_forward(self.feed_forward_norm(x)), *state)
