"""The glimpse itself: weights that a context chose, times the input."""

import dataclasses

import jax
import jax.numpy as jnp

from attnjax.ops.glimpse.weigh import compute_dtype, scaled, weigh
from attnjax.ops.normalizers import Normalizer
from attnjax.typing import Array, Bool, Float

__all__ = ["GlimpseAux", "apply", "glimpse"]

_AUX = ("weights", "entropy")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class GlimpseAux:
  """What a glimpse knows beside its output; None is what was not asked for.

  Args:
    weights: in the axes in which the logits were given (of the mask, where it
      has more), float32 or better.
    entropy: -Σ w log w along `axis`, in nats; one number a row of weights.

  >>> import jax.numpy as jnp
  >>> _, aux = glimpse(jnp.ones((3, 2)), jnp.zeros(3), axis=0, aux=("weights",))
  >>> aux.weights.shape, aux.entropy is None
  ((3,), True)
  """

  weights: Float[Array, "..."] | None = None
  entropy: Float[Array, "..."] | None = None


def glimpse(
  inputs: Float[Array, "..."],
  logits: Float[Array, "..."],
  *,
  axis: int = -1,
  normalizer: str | Normalizer = "softmax",
  temperature: float | Float[Array, ""] = 1.0,
  pool: bool = False,
  mask: Bool[Array, "..."] | None = None,
  aux: tuple[str, ...] | str = (),
):
  """The input, with the parts that a context chose emphasised.

      weights = normalizer(logits / temperature)     along axis
      out     = inputs ⊙ weights,   or its sum over axis where `pool`

  One rule says how logits lie on the input. With as many axes as it has they
  broadcast with it, axis by axis. With fewer, their last axis is `axis` of the
  input and the ones before it are the first axes of the input, in order:

  ===========  ========  =========  ==============================
  inputs       axis      logits     what is emphasised
  ===========  ========  =========  ==============================
  ``B T``      -1        ``B T``    parts of a vector (the notes')
  ``B T D``    -2        ``B T``    positions of a sequence
  ``B T D``    -1        ``B D``    features, at every position
  ``B T D``    -2 or -1  ``B T D``  each number: a full gate
  ``B T D``    any       one axis   the same in every row
  ===========  ========  =========  ==============================

  Pooled over positions with the logits q · k / sqrt(D) it is `attend` with the
  one query q.

  Args:
    inputs: floats, at least one axis.
    logits: floats, from the context: a row of an embedding, or a query scored
      against keys. -inf hides a part as the mask does.
    axis: of the inputs, along which weights compete.
    normalizer: "softmax" (weights sum to 1), "sigmoid" (gates of their own),
      "none" (the logits are the weights, of any sign), "hard" (1 on the
      largest and 0 elsewhere, with the gradient of softmax: straight through),
      or one of `attnjax.normalizers`, such as ``top_k(2)``.
    temperature: > 0, divides the logits; may be a scalar array, traced or
      learned. Softmax tends to the mean as it grows, and to "hard" towards 0.
    pool: whether to sum the glimpse over the axis.
    mask: bool, True where a part may be seen; lies on the inputs by the same
      rule, and may have size 1 on the axis. What is hidden has weight 0 and
      gradient 0, whatever stands there; where all is, the output is 0.
      None hides nothing.
    aux: any of "weights", "entropy".

  Returns:
    The inputs' shape, broadcast with the logits', without `axis` where `pool`;
    in the inputs' dtype, computed in float32 or better. With `aux` a pair,
    ``(out, GlimpseAux)``.

  Raises:
    ValueError: logits or mask do not lie on the inputs, `axis` is none of
      theirs, a dtype, the temperature, the normalizer or a name of `aux` is
      not what it may be.

  >>> import jax.numpy as jnp
  >>> x, logits = jnp.array([3.0, 5.0]), jnp.log(jnp.array([1.0, 3.0]))
  >>> jnp.round(glimpse(x, logits), 4).tolist()
  [0.75, 3.75]
  >>> float(glimpse(x, logits, pool=True, normalizer="hard"))
  5.0

  Reference:
    Phung, "Attention in Deep Learning, your starting point (with code)", 2020
    (its normalizer is "none"). Gates of features: Hu, Shen, Sun,
    "Squeeze-and-Excitation Networks", 2017, arXiv 1709.01507.
    Straight through: Bengio, Léonard, Courville, "Estimating or Propagating
    Gradients Through Stochastic Neurons", 2013, arXiv 1308.3432.
  """
  inputs, logits = jnp.asarray(inputs), jnp.asarray(logits)
  names = _aux_names(aux, normalizer)
  with jax.named_scope("glimpse"):
    given = scaled(inputs, logits, axis, temperature, mask)
    layout = given.layout
    weights = layout.back(weigh(layout.rows(given.logits), normalizer))
    out = apply(inputs, weights, given.seen, layout.axis, pool)
    if not names:
      return out
    found = {}
    if "weights" in names:
      found["weights"] = layout.taken_off(weights)
    if "entropy" in names:
      shape = layout.row_shape(weights.shape)
      found["entropy"] = _entropy(weights, layout.axis).reshape(shape)
    return out, GlimpseAux(**found)


def apply(inputs, weights, seen, axis: int, pool: bool):
  """Weights times input; hidden parts are 0, whatever stands there."""
  dtype = compute_dtype(inputs, weights)
  # Selected before the product: 0 * NaN is NaN, in the gradient too.
  held = jnp.where(seen, inputs.astype(dtype), 0)
  out = held * weights.astype(dtype)
  if pool:
    out = out.sum(axis=axis)
  return out.astype(inputs.dtype)


def _entropy(weights, axis):
  """-Σ w log w; where the weight is 0 so is its share, and its gradient."""
  held = weights > 0
  log = jnp.log(jnp.where(held, weights, 1))
  return -jnp.sum(weights * log, axis=axis)


def _aux_names(aux, normalizer) -> tuple[str, ...]:
  """The extra results asked for, each of them known."""
  names = (aux,) if isinstance(aux, str) else tuple(aux)
  unknown = [name for name in names if name not in _AUX]
  if unknown:
    raise ValueError(
      f"glimpse: aux asks for {unknown}, which is not among {list(_AUX)}"
    )
  raw = isinstance(normalizer, str) and normalizer == "none"
  if "entropy" in names and raw:
    raise ValueError(
      "glimpse: aux asks for the entropy of weights that normalizer='none'"
      " leaves as they are; they are no distribution, ask for 'weights'"
    )
  return names
