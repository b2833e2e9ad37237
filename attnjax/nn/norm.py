"""RMS norm and layer norm of Flax under strict dtype promotion."""

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.typing import Array, Float

__all__ = [
  "HeadNorm",
  "LayerNorm",
  "RMSNorm",
  "RMSNormPlusOne",
  "make_norm",
]


class RMSNorm(nnx.RMSNorm):
  """`flax.nnx.RMSNorm` that runs in bfloat16 under strict dtype promotion.

      y = x / sqrt(mean(x²) + ε) ⊙ scale

  The mean is float32 whatever x is, and y has the dtype of x and scale.

  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> norm = RMSNorm(4, rngs=nnx.Rngs(0))
  >>> [round(float(y), 3) for y in norm(jnp.array([3.0, -3.0, 3.0, 3.0]))]
  [1.0, -1.0, 1.0, 1.0]

  Reference:
    Zhang, Sennrich, "Root Mean Square Layer Normalization", 2019, arXiv
    1910.07467.
  """

  def __call__(self, x, *args, **kw):
    """Normalises the last axis."""
    # Flax multiplies bfloat16 by float32 statistics: an intended promotion.
    with jax.numpy_dtype_promotion("standard"):
      return super().__call__(x, *args, **kw)


class RMSNormPlusOne(nnx.Module):
  """RMS norm whose scale is stored as its difference from 1.

      y = x / sqrt(mean(x²) + ε) ⊙ (1 + scale)

  Weight decay then pulls towards a scale of 1. The product is taken in float32,
  and y has the dtype of x and scale.

  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> norm = RMSNormPlusOne(2, rngs=nnx.Rngs(0))
  >>> norm.scale[...].tolist(), norm(jnp.array([-3.0, 3.0])).round(3).tolist()
  ([0.0, 0.0], [-1.0, 1.0])

  Reference:
    Gemma Team, "Gemma: Open Models Based on Gemini Research and Technology",
    2024, arXiv 2403.08295, and the code published with it.
  """

  def __init__(self, width: int, *, epsilon: float = 1e-6, rngs: nnx.Rngs):
    del rngs  # nothing is drawn; the other norms take it
    self.scale = nnx.Param(jnp.zeros((width,), jnp.float32))
    self.epsilon = epsilon

  def __call__(self, x):
    """Normalises the last axis."""
    scale = self.scale[...]
    dtype = jnp.result_type(x.dtype, scale.dtype)
    wide = x.astype(jnp.promote_types(dtype, jnp.float32))
    wide = wide * jax.lax.rsqrt(
      jnp.mean(wide * wide, axis=-1, keepdims=True) + self.epsilon
    )
    factor = (1 + scale.astype(wide.dtype)).reshape((1,) * (x.ndim - 1) + (-1,))
    return (wide * factor).astype(dtype)


class LayerNorm(nnx.LayerNorm):
  """`flax.nnx.LayerNorm` that runs in bfloat16 under strict dtype promotion.

      y = (x - mean(x)) / sqrt(var(x) + ε) ⊙ scale [+ bias]

  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> norm = LayerNorm(4, rngs=nnx.Rngs(0))
  >>> [round(float(y), 3) for y in norm(jnp.array([5.0, 1.0, 5.0, 1.0]))]
  [1.0, -1.0, 1.0, -1.0]

  Reference:
    Ba, Kiros, Hinton, "Layer Normalization", 2016, arXiv 1607.06450.
  """

  # The fast variance E[x²] - E[x]² cancels where the mean is large.
  def __init__(self, width: int, *, use_fast_variance: bool = False, **kw):
    super().__init__(width, use_fast_variance=use_fast_variance, **kw)

  def __call__(self, x, *args, **kw):
    """Normalises the last axis."""
    with jax.numpy_dtype_promotion("standard"):  # as in `RMSNorm`
      return super().__call__(x, *args, **kw)


def make_norm(
  norm: str,
  width: int,
  use_bias: bool,
  rngs: nnx.Rngs,
  *,
  # The default of Flax; `Albert` gives its own, 1e-12.
  epsilon: float = 1e-6,
):
  """Makes a norm by its short name: "rms", "rms_plus_one" or "layer".

  Raises:
    ValueError: of another name.

  >>> from flax import nnx
  >>> type(make_norm("rms", 3, False, nnx.Rngs(0))).__name__
  'RMSNorm'
  """
  if norm == "rms":
    return RMSNorm(width, epsilon=epsilon, rngs=rngs)
  if norm == "layer":
    return LayerNorm(width, use_bias=use_bias, epsilon=epsilon, rngs=rngs)
  if norm == "rms_plus_one":
    return RMSNormPlusOne(width, epsilon=epsilon, rngs=rngs)
  raise ValueError(
    f"norm must be 'rms', 'rms_plus_one' or 'layer', got {norm!r}"
  )


class HeadNorm(nnx.Module):
  """A norm of queries or keys, of each head or over all heads at once.

  Args:
    norm: a name of `make_norm`.
    heads: of x.
    width: D.
    over: "head" or "heads".
    epsilon: of the norm.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if `over` is neither of the two.

  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> x = jnp.array([[[3.0, -3.0], [1.0, 1.0]]])
  >>> of_each = HeadNorm("rms", 2, 2, "head", 1e-6, nnx.Rngs(0))
  >>> of_all = HeadNorm("rms", 2, 2, "heads", 1e-6, nnx.Rngs(0))
  >>> [norm(x).max(-1).round(1).tolist() for norm in (of_each, of_all)]
  [[[1.0, 1.0]], [[1.3..., 0.4...]]]
  """

  def __init__(
    self,
    norm: str,
    heads: int,
    width: int,
    over: str,
    epsilon: float,
    rngs: nnx.Rngs,
  ):
    if over not in ("head", "heads"):
      raise ValueError(
        f"query_key_norm must be one of ['none', 'head', 'heads'], got {over!r}"
      )
    size = width if over == "head" else heads * width
    # Without a bias: no published model has one here.
    self.norm = make_norm(norm, size, False, rngs, epsilon=epsilon)
    self.over = over

  def __call__(self, x: Float[Array, "*B T H D"]) -> Float[Array, "*B T H D"]:
    """Normalises queries or keys."""
    if self.over == "head":
      return self.norm(x)
    flat = x.reshape((*x.shape[:-2], x.shape[-2] * x.shape[-1]))
    return self.norm(flat).reshape(x.shape)
