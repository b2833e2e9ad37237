"""Single-head self-attention as a module: three linear layers and a call."""

from collections.abc import Callable, Sequence
from typing import Any, overload

import jax
from flax import nnx

from attnjax.ops.attention import Aux
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.attention.arguments import AuxNames
from attnjax.ops.heads import Projection, SelfAttentionParams
from attnjax.ops.multi_head import self_attention
from attnjax.typing import Array, Float

__all__ = ["SelfAttention"]

_FAN_IN = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")


class SelfAttention(nnx.Module):
  """One head of self-attention, with no map behind it.

      q, k, v = x W_q + b_q, x W_k + b_k, x W_v + b_v
      out     = softmax(q kᵀ / sqrt(M)) v

  Its layers are called as those of the PyTorch class that it follows; a
  ``weight`` of PyTorch is the transpose of a ``kernel``.

  Args:
    width: M, of inputs, queries, keys and values.
    use_bias: whether the three layers have biases, as those of that class do.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if the width is below 1.

  >>> import jax
  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> layer = SelfAttention(6, rngs=nnx.Rngs(0))
  >>> x = jax.random.normal(jax.random.key(0), (2, 5, 6))
  >>> out, aux = layer(x, aux=("weights",))
  >>> bool(jnp.allclose(aux.weights[:, 0] @ layer.value(x), out, atol=1e-5))
  True

  Reference:
    Lin et al., "A Structured Self-attentive Sentence Embedding", 2017, arXiv
    1703.03130; Vaswani et al., 2017, arXiv 1706.03762, equation 1.
  """

  def __init__(
    self,
    width: int,
    *,
    use_bias: bool = True,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    if width < 1:
      raise ValueError(f"SelfAttention: width must be at least 1, got {width}")

    def square():
      return nnx.Linear(
        width, width, use_bias=use_bias, kernel_init=_FAN_IN, rngs=rngs
      )

    self.query, self.key, self.value = square(), square(), square()
    self.attend = attend

  @property
  def params(self) -> SelfAttentionParams:
    """The parameters, as the primitive takes them."""
    return SelfAttentionParams(
      *(
        Projection(
          layer.kernel[...], None if layer.bias is None else layer.bias[...]
        )
        for layer in (self.query, self.key, self.value)
      )
    )

  @overload
  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    *,
    aux: tuple[()] = ...,
    **attend_kw: Any,
  ) -> Array: ...

  @overload
  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    *,
    aux: AuxNames,
    **attend_kw: Any,
  ) -> tuple[Array, Aux]: ...

  @overload
  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    *,
    aux: Sequence[str],
    **attend_kw: Any,
  ) -> Array | tuple[Array, Aux]: ...

  def __call__(self, inputs: Float[Array, "*B T M"], **attend_kw):
    """Attends; see `attnjax.self_attention`."""
    return self_attention(self.params, inputs, attend=self.attend, **attend_kw)
