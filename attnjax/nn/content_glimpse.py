"""A glimpse at whatever answers a context, in inputs of any length."""

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.nn.embed import Embedding
from attnjax.nn.glimpse import check_sizes, embedded
from attnjax.ops.glimpse import glimpse
from attnjax.ops.normalizers import Normalizer
from attnjax.typing import Array, Bool, Float, Int

__all__ = ["ContentGlimpse"]

_FAN_IN = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")


class ContentGlimpse(nnx.Module):
  """A glimpse at the positions whose content answers a context.

      q = embedding[context],   k[t] = inputs[t] W_k
      a = normalizer(q · k / sqrt(D))                          ``*B T``
      out = Linear(Σ_t inputs[t] a[t])

  Logits are scores and not parameters, so that one network takes inputs of any
  length. It is `attend` with one query, whose values are the inputs.

  Args:
    contexts: C, how many there are.
    width: M, of the vector at each position.
    outputs: O, numbers to read out.
    key_width: D, of query and keys; None is M.
    normalizer: as for `attnjax.glimpse`.
    rngs: Flax NNX random streams; uses "params".

  Where things stand does not matter, but what they are:

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> net = ContentGlimpse(5, 4, 2, rngs=nnx.Rngs(0))
  >>> x, context = jax.random.normal(jax.random.key(0), (7, 4)), jnp.array(3)
  >>> bool(jnp.allclose(net(x, context), net(x[::-1], context), atol=1e-5))
  True

  Reference:
    Luong, Pham, Manning, "Effective Approaches to Attention-based Neural
    Machine Translation", 2015, arXiv 1508.04025, "general" score; scaled as in
    Vaswani et al., 2017, arXiv 1706.03762.
  """

  def __init__(
    self,
    contexts: int,
    width: int,
    outputs: int,
    *,
    key_width: int | None = None,
    normalizer: str | Normalizer = "softmax",
    rngs: nnx.Rngs,
  ):
    key_width = width if key_width is None else key_width
    check_sizes(
      "ContentGlimpse", contexts=contexts, width=width, key_width=key_width
    )
    self.context = Embedding(contexts, key_width, stddev=1.0, rngs=rngs)
    self.key = nnx.Linear(
      width, key_width, use_bias=False, kernel_init=_FAN_IN, rngs=rngs
    )
    self.readout = nnx.Linear(width, outputs, kernel_init=_FAN_IN, rngs=rngs)
    self.normalizer = normalizer

  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    context: Int[Array, "*B"],
    *,
    mask: Bool[Array, "*B T"] | None = None,
    aux: tuple[str, ...] | str = (),
  ):
    """Reads the output from the positions that answer the context.

    Args:
      inputs: ``*B T M``.
      context: int ``*B``; one that is not embedded gives NaN, not a guess.
      mask: bool ``*B T``, False where nothing may be seen.
      aux: as for `attnjax.glimpse`.

    Returns:
      ``*B O``; with `aux` a pair, ``(out, GlimpseAux)``.
    """
    result = glimpse(
      inputs,
      self.logits(inputs, context),
      axis=-2,
      normalizer=self.normalizer,
      temperature=self.key.out_features**0.5,
      pool=True,
      mask=mask,
      aux=aux,
    )
    seen, *found = result if aux else (result,)
    out = self.readout(seen)
    return (out, *found) if aux else out

  def logits(
    self, inputs: Float[Array, "*B T M"], context: Int[Array, "*B"]
  ) -> Float[Array, "*B T"]:
    """How well each position answers: q · k, summed in float32 or better."""
    query, key = embedded(self.context, context), self.key(inputs)
    dtype = jnp.float64 if key.dtype == jnp.float64 else jnp.float32
    return jnp.einsum(
      "...d,...td->...t", query, key, preferred_element_type=dtype
    )
