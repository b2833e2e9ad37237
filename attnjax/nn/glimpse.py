"""Networks with one glimpse, whose weights depend on a context.

The embedding of a context gives attention weights, these multiply the input
elementwise, and a linear layer maps the product to the output.
"""

import jax.numpy as jnp
from flax import nnx

from attnjax.moved import forward_names
from attnjax.nn.embed import Embedding
from attnjax.nn.initializers import FAN_IN
from attnjax.ops.glimpse import glimpse
from attnjax.ops.normalizers import Normalizer
from attnjax.typing import Array, Bool, Float, Int

__all__ = ["ContentGlimpse", "GlimpseNetwork"]


class GlimpseNetwork(nnx.Module):
  """A glimpse whose logits are learned for each context and position.

      a   = normalizer(embedding[context] / temperature)      ``*B T``
      out = Linear(inputs ⊙ a),   or Linear(Σ_t inputs[t] a[t]) where `pool`

  Given a context the network is linear in its inputs, so training determines
  only the product of weight and readout kernel, see `effective_weights`. The
  weights alone are comparable where the normalizer fixes their scale, as
  "softmax" does.

  Args:
    contexts: C, the number of contexts.
    length: T, parts of the input: numbers, or positions where there is `width`.
    outputs: O, numbers to read out.
    width: D, of the vector at each position; None is an input of T numbers.
    normalizer: as for `attnjax.glimpse`; "none" in the reference.
    temperature: > 0, divides the logits.
    pool: whether positions are summed before the readout, which is then the
      same for all of them.
    stddev: of the initial embedding; 1 in the reference.
    rngs: Flax NNX random streams; uses "params".

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> net = GlimpseNetwork(5, 8, 1, rngs=nnx.Rngs(0))
  >>> x, context = jnp.ones((3, 8)), jnp.array([0, 4, 1])
  >>> effective = net.effective_weights()[context, :, 0]
  >>> out = (effective * x).sum(-1)  # the bias is 0 at first
  >>> bool(jnp.allclose(net(x, context)[:, 0], out, atol=1e-5))
  True

  Reference:
    Phung, "Attention in Deep Learning, your starting point (with code)", 2020.
  """

  def __init__(
    self,
    contexts: int,
    length: int,
    outputs: int,
    *,
    width: int | None = None,
    normalizer: str | Normalizer = "none",
    temperature: float = 1.0,
    pool: bool = False,
    stddev: float = 1.0,
    rngs: nnx.Rngs,
  ):
    _check_sizes(
      "GlimpseNetwork", contexts=contexts, length=length, outputs=outputs
    )
    self.context = Embedding(contexts, length, stddev=stddev, rngs=rngs)
    # With pooling all positions share one readout; else each has its own.
    features = (1 if pool else length) * (1 if width is None else width)
    self.readout = nnx.Linear(features, outputs, kernel_init=FAN_IN, rngs=rngs)
    self.width = width
    self.normalizer = normalizer
    self.temperature = temperature
    self.pool = pool

  def __call__(
    self,
    inputs: Float[Array, "..."],
    context: Int[Array, "*B"],
    *,
    mask: Bool[Array, "*B T"] | None = None,
    aux: tuple[str, ...] | str = (),
  ):
    """Outputs of inputs and their contexts.

    Args:
      inputs: ``*B T``, or ``*B T D`` where there is a `width`.
      context: int ``*B``; one outside of [0, C) gives NaN.
      mask: bool ``*B T``, False at positions of weight 0.
      aux: as for `attnjax.glimpse`.

    Returns:
      ``*B O``; with `aux` a pair, ``(out, GlimpseAux)``.
    """
    # `glimpse` would broadcast a wrong T.
    length = self.context.embedding.shape[1]
    expected = (length,) if self.width is None else (length, self.width)
    if inputs.shape[-len(expected) :] != expected:
      axes = "*B T" if self.width is None else "*B T D"
      raise ValueError(
        f"GlimpseNetwork: inputs must be '{axes}' and end in"
        f" {list(expected)}, got shape {list(inputs.shape)}; the embedding ties"
        " the network to one length, ContentGlimpse takes any"
      )

    result = glimpse(
      inputs,
      _embedded(self.context, context),
      axis=-1 if self.width is None else -2,
      pool=self.pool,
      mask=mask,
      aux=aux,
      normalizer=self.normalizer,
      temperature=self.temperature,
    )
    weighted, *found = result if aux else (result,)

    batch = weighted.shape[: inputs.ndim - len(expected)]
    out = self.readout(weighted.reshape((*batch, self.readout.in_features)))
    return (out, *found) if aux else out

  def weights(self) -> Float[Array, "C T"]:
    """Attention weights of each context."""
    table = self.context.embedding[...]
    # The glimpse of ones, without a sum, is the weights themselves.
    ones = jnp.ones(table.shape, table.dtype)
    return glimpse(
      ones, table, normalizer=self.normalizer, temperature=self.temperature
    )

  def effective_weights(self) -> Float[Array, "C T ..."]:
    """Derivative of each output by each input: weight times readout.

        effective[c, t, d, o] = weights[c, t] · kernel[t, d, o]

    Returns:
      ``C T O``, or ``C T D O`` where there is a `width`.
    """
    weights, kernel = self.weights(), self.readout.kernel[...]
    # A pooled readout is the same for all positions: its axis T has size 1.
    length = 1 if self.pool else weights.shape[1]
    slopes = kernel.reshape((1, length, -1, kernel.shape[-1]))
    effective = weights[..., None, None] * slopes.astype(weights.dtype)
    return effective[:, :, 0] if self.width is None else effective


class ContentGlimpse(nnx.Module):
  """A glimpse whose logits are scores of a context and each position.

      q = embedding[context],   k[t] = inputs[t] W_k
      a = normalizer(q · k / sqrt(D))                          ``*B T``
      out = Linear(Σ_t inputs[t] a[t])

  Logits are scores and not parameters, so one network takes inputs of any
  length. It is `attend` with one query, and the inputs as values.

  Args:
    contexts: C, the number of contexts.
    width: M, of the vector at each position.
    outputs: O, numbers to read out.
    key_width: D, of query and keys; None is M.
    normalizer: as for `attnjax.glimpse`.
    rngs: Flax NNX random streams; uses "params".

  It is invariant to the order of positions:

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
    _check_sizes(
      "ContentGlimpse", contexts=contexts, width=width, key_width=key_width
    )
    # Queries of variance 1, as the keys are for inputs of variance 1: divided
    # by √D their scores have variance 1.
    self.context = Embedding(contexts, key_width, stddev=1.0, rngs=rngs)
    self.key = nnx.Linear(
      width, key_width, use_bias=False, kernel_init=FAN_IN, rngs=rngs
    )
    self.readout = nnx.Linear(width, outputs, kernel_init=FAN_IN, rngs=rngs)
    self.normalizer = normalizer

  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    context: Int[Array, "*B"],
    *,
    mask: Bool[Array, "*B T"] | None = None,
    aux: tuple[str, ...] | str = (),
  ):
    """Outputs of inputs of any length and their contexts.

    Args:
      inputs: ``*B T M``.
      context: int ``*B``; one outside of [0, C) gives NaN.
      mask: bool ``*B T``, False at positions of weight 0.
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
    weighted, *found = result if aux else (result,)
    out = self.readout(weighted)
    return (out, *found) if aux else out

  def logits(
    self, inputs: Float[Array, "*B T M"], context: Int[Array, "*B"]
  ) -> Float[Array, "*B T"]:
    """Scores q · k of each position, summed in float32 or wider."""
    query, key = _embedded(self.context, context), self.key(inputs)
    # As in `attend`: rounded logits could change the order of weights.
    dtype = jnp.float64 if key.dtype == jnp.float64 else jnp.float32
    return jnp.einsum(
      "...d,...td->...t", query, key, preferred_element_type=dtype
    )


def _embedded(
  embedding: Embedding, context: Int[Array, "*B"]
) -> Float[Array, "*B M"]:
  """Embeds contexts ``*B``; `Embedding` needs an axis T, here of size 1."""
  return embedding(context[..., None])[..., 0, :]


def _check_sizes(name: str, **sizes: int) -> None:
  """Raises ValueError for a size below 1."""
  for size, value in sizes.items():
    if value < 1:
      raise ValueError(f"{name}: {size} must be at least 1, got {value}")


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
