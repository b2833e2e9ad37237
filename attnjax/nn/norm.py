"""RMS norm and layer norm of Flax under strict dtype promotion."""

import jax
from flax import nnx

__all__ = ["LayerNorm", "RMSNorm", "make_norm"]


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
  """Makes a norm by its short name, "rms" or "layer".

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
  raise ValueError(f"norm must be 'rms' or 'layer', got {norm!r}")
