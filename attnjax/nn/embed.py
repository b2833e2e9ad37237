"""Embedding tables: lookup, logits by the same table, and positions."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.ops import positions
from attnjax.typing import Array, Float, Int

__all__ = ["Embedding", "add_positions"]


class Embedding(nnx.Module):
  """A table of ``V`` learned vectors of width ``M``.

  `flax.nnx.Embed` fixes its compute dtype when it is made; this one computes in
  the dtype of its table, so that casting the parameters is enough.

  Args:
    rows: V, tokens or positions.
    width: M.
    stddev: of the initial normal distribution.
    rngs: Flax NNX random streams; uses "params".

  A lookup is the product with a one-hot vector:

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> embed = Embedding(5, 3, rngs=nnx.Rngs(0))
  >>> tokens = jnp.array([4, 1])
  >>> onehot = jax.nn.one_hot(tokens, 5) @ embed.embedding[...]
  >>> bool(jnp.allclose(embed(tokens), onehot))
  True
  """

  def __init__(
    self, rows: int, width: int, *, stddev: float = 0.02, rngs: nnx.Rngs
  ):
    init = jax.nn.initializers.normal(stddev)
    # float32, whatever the layers compute in: a loss function casts the
    # parameters.
    self.embedding = nnx.Param(init(rngs.params(), (rows, width), jnp.float32))

  def __call__(self, index: Int[Array, "*B T"]) -> Float[Array, "*B T M"]:
    """Rows of the table; an index outside of it gives NaN."""
    return positions.learned(self.embedding[...], index)

  def logits(self, x: Float[Array, "*B T M"]) -> Float[Array, "*B T V"]:
    """Logits x · embedding[v], by the table as output projection.

    Summed in float32 or wider, whatever the dtype of x: logits in bfloat16 have
    ties, and their log-sum-exp loses digits.

    Reference:
      Press, Wolf, "Using the Output Embedding to Improve Language Models",
      2016, arXiv 1608.05859.
    """
    # float64 for gradient checks.
    dtype = jnp.float64 if x.dtype == jnp.float64 else jnp.float32
    return jnp.einsum(
      "...tm,vm->...tv",
      x,
      self.embedding[...],
      preferred_element_type=dtype,
    )

  def attend(self, x: Float[Array, "*B T M"]) -> Float[Array, "*B T V"]:
    """The deprecated name of `logits`."""
    warnings.warn(
      "Embedding.attend is now Embedding.logits",
      DeprecationWarning,
      stacklevel=2,
    )
    return self.logits(x)


def add_positions(
  x: Float[Array, "*B T M"],
  places: Int[Array | np.ndarray, "*P T"],
  kind: str,
  table: Embedding | None = None,
) -> Float[Array, "*B T M"]:
  """Adds position encodings to embeddings, in their dtype.

  Args:
    x: ``*B T M``, embeddings of tokens.
    places: int ``*B T``, or ``T``, the positions.
    kind: "learned", rows of the table; "sinusoidal"; any other kind adds
      nothing, because attention itself encodes positions.
    table: the learned positions.

  >>> import jax.numpy as jnp
  >>> x = jnp.zeros((2, 3, 4))
  >>> bool((add_positions(x, jnp.arange(3), "rotary") == x).all())
  True
  """
  if kind == "learned" and table is not None:
    code = table(jnp.asarray(places))
  elif kind == "sinusoidal":
    # Scaled by 1/√M, because their norm is √(M/2) and embeddings start small.
    code = positions.sinusoidal(places, x.shape[-1]) * x.shape[-1] ** -0.5
  else:
    return x

  # Batch axes are added by hand, so that it runs under strict rank promotion.
  code = code.reshape((1,) * (x.ndim - code.ndim) + code.shape)
  return x + code.astype(x.dtype)
