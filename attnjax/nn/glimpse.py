"""The glimpse network: a context is embedded and weights its input.

A context is embedded, the embedding becomes attention weights, these multiply
the input element-wise, and a linear layer reads the output from that glimpse.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.nn.embed import Embedding
from attnjax.ops.glimpse import glimpse
from attnjax.ops.normalizers import Normalizer
from attnjax.typing import Array, Bool, Float, Int

__all__ = ["GlimpseNetwork", "check_sizes", "embedded"]

_FAN_IN = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")


class GlimpseNetwork(nnx.Module):
  """Embed(context) -> glimpse -> Linear.

      a   = normalizer(embedding[context] / temperature)      ``*B T``
      out = Linear(inputs ⊙ a),   or Linear(Σ_t inputs[t] a[t]) where `pool`

  Given its context the network is linear in its inputs: only the product of a
  weight with what the readout makes of it is determined, see
  `effective_weights`. Weights themselves are a faithful picture where the
  normalizer fixes their scale, as "softmax" does.

  Args:
    contexts: C, how many there are.
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
    check_sizes(
      "GlimpseNetwork", contexts=contexts, length=length, outputs=outputs
    )
    self.context = Embedding(contexts, length, stddev=stddev, rngs=rngs)
    features = (1 if pool else length) * (1 if width is None else width)
    self.readout = nnx.Linear(features, outputs, kernel_init=_FAN_IN, rngs=rngs)
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
    """Reads the output from the glimpse that a context takes.

    Args:
      inputs: ``*B T``, or ``*B T D`` where there is a `width`.
      context: int ``*B``; one that is not embedded gives NaN, not a guess.
      mask: bool ``*B T``, False where nothing may be seen.
      aux: as for `attnjax.glimpse`.

    Returns:
      ``*B O``; with `aux` a pair, ``(out, GlimpseAux)``.
    """
    self._check_inputs(inputs)
    seen, found = self._glimpse(
      inputs, embedded(self.context, context), mask, aux
    )
    kept = inputs.ndim - (1 if self.width is None else 2)
    flat = (*seen.shape[:kept], self.readout.in_features)
    out = self.readout(seen.reshape(flat))
    return (out, found) if aux else out

  def weights(self) -> Float[Array, "C T"]:
    """What each context pays attention to."""
    table = self.context.embedding[...]
    ones = jnp.ones(table.shape, table.dtype)
    return glimpse(ones, table, **self._how())

  def effective_weights(self) -> Float[Array, "C T ..."]:
    """The slope of each output in each input: weight times readout.

        effective[c, t, d, o] = weights[c, t] · kernel[t, d, o]

    Returns:
      ``C T O``, or ``C T D O`` where there is a `width`.
    """
    weights, kernel = self.weights(), self.readout.kernel[...]
    length = 1 if self.pool else weights.shape[1]
    slopes = kernel.reshape((1, length, -1, kernel.shape[-1]))
    found = weights[..., None, None] * slopes.astype(weights.dtype)
    return found[:, :, 0] if self.width is None else found

  def _how(self) -> dict:
    """How logits become weights."""
    return {"normalizer": self.normalizer, "temperature": self.temperature}

  def _glimpse(self, inputs, logits, mask, aux):
    """The glimpse, and what else was asked for or None."""
    axis = -1 if self.width is None else -2
    result = glimpse(
      inputs,
      logits,
      axis=axis,
      pool=self.pool,
      mask=mask,
      aux=aux,
      **self._how(),
    )
    return result if aux else (result, None)

  def _check_inputs(self, inputs) -> None:
    """Parts as many as the embedding has logits, of the width it was made for.

    The primitive would broadcast where a readout cannot follow.
    """
    length = self.context.embedding.shape[1]
    expected = (length,) if self.width is None else (length, self.width)
    if inputs.shape[-len(expected) :] != expected:
      axes = "*B T" if self.width is None else "*B T D"
      raise ValueError(
        f"GlimpseNetwork: inputs must be '{axes}' and end in"
        f" {list(expected)}, got shape {list(inputs.shape)}; the embedding ties"
        " the network to one length, ContentGlimpse takes any"
      )


def embedded(
  embedding: Embedding, context: Int[Array, "*B"]
) -> Float[Array, "*B M"]:
  """The vectors of contexts, of one alone too.

  >>> import jax.numpy as jnp
  >>> from attnjax.nn.embed import Embedding
  >>> from flax import nnx
  >>> embedded(Embedding(5, 3, rngs=nnx.Rngs(0)), jnp.array(4)).shape
  (3,)
  """
  return embedding(context[..., None])[..., 0, :]


def check_sizes(name: str, **sizes: int) -> None:
  """Sizes of at least 1.

  >>> check_sizes("Network", length=0)
  Traceback (most recent call last):
    ...
  ValueError: Network: length must be at least 1, got 0
  """
  for size, value in sizes.items():
    if value < 1:
      raise ValueError(f"{name}: {size} must be at least 1, got {value}")
