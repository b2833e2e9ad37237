"""The glimpse: an input times normalized weights of its parts."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from attnjax.ops import normalizers
from attnjax.ops.normalizers import Normalizer, largest
from attnjax.ops.value_checks import poison, refuse
from attnjax.typing import Array, Bool, Float, Shaped

__all__ = [
  "GlimpseAux",
  "apply",
  "glimpse",
  "scaled",
]


_AUX = ("weights", "entropy")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class GlimpseAux:
  """Weights and entropy of a glimpse; None where they were not asked for.

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
  """Multiplies an input elementwise by the normalized weights of logits.

      weights = normalizer(logits / temperature)     along axis
      out     = inputs ⊙ weights,   or its sum over axis where `pool`

  Logits with as many axes as the input broadcast with it axis by axis. With
  fewer axes, their last axis is `axis` of the input, and those before it are
  the first axes of the input, in order:

  ===========  ========  =========  ==============================
  inputs       axis      logits     what is weighted
  ===========  ========  =========  ==============================
  ``B T``      -1        ``B T``    parts of a vector
  ``B T D``    -2        ``B T``    positions of a sequence
  ``B T D``    -1        ``B D``    features, at every position
  ``B T D``    -2 or -1  ``B T D``  each number: a full gate
  ``B T D``    any       one axis   the same in every row
  ===========  ========  =========  ==============================

  Pooled over positions with the logits q · k / sqrt(D) it is `attend` with the
  one query q.

  Args:
    inputs: floats, at least one axis.
    logits: floats, computed from a context: a row of an embedding, or a query
      scored against keys. -inf hides a part as the mask does.
    axis: of the inputs, along which weights are normalized.
    normalizer: "softmax" (weights sum to 1), "sigmoid" (independent gates),
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
  """Multiplies weights and input; hidden parts become 0, even if NaN."""
  dtype = compute_dtype(inputs, weights)
  # Selected before the product: 0 * NaN is NaN, in the gradient too.
  visible = jnp.where(seen, inputs.astype(dtype), 0)
  out = visible * weights.astype(dtype)
  if pool:
    out = out.sum(axis=axis)
  return out.astype(inputs.dtype)


def _entropy(weights, axis):
  """Entropy -Σ w log w; a weight of 0 adds 0, with gradient 0."""
  # log(0) = -inf would make 0 * -inf = NaN, in the gradient too.
  positive = weights > 0
  log = jnp.log(jnp.where(positive, weights, 1))
  return -jnp.sum(weights * log, axis=axis)


def _aux_names(aux, normalizer) -> tuple[str, ...]:
  """Names in `aux` as a tuple; raises ValueError on an unknown one."""
  names = (aux,) if isinstance(aux, str) else tuple(aux)
  unknown = [name for name in names if name not in _AUX]
  if unknown:
    raise ValueError(
      f"glimpse: aux asks for {unknown}, which is not among {list(_AUX)}"
    )

  # Raw logits may be negative: they have no entropy.
  raw = isinstance(normalizer, str) and normalizer == "none"
  if "entropy" in names and raw:
    raise ValueError(
      "glimpse: aux asks for the entropy of weights that normalizer='none'"
      " leaves as they are; they are no distribution, ask for 'weights'"
    )
  return names


@dataclasses.dataclass(frozen=True)
class WeightAxes:
  """How the axes of weights map to the axes of the input; see `glimpse`.

  Args:
    axis: of the input, counted from 0, along which weights are normalized.
    rank: axes of the input.
    given: axes of the logits, or of the mask where it has more.

  >>> import jax.numpy as jnp
  >>> layout = WeightAxes(axis=1, rank=3, given=2)  # "B T" on "B T D"
  >>> layout.taken_off(jnp.ones((5, 7, 1))).shape, layout.row_shape((5, 7, 1))
  ((5, 7), (5,))
  """

  axis: int
  rank: int
  given: int

  def taken_off(self, weights: Float[Array, "..."]) -> Float[Array, "..."]:
    """Weights with the axes that the logits were given in."""
    if self.given == self.rank:
      return weights
    # The axes left out have size 1: `_in_rank` inserted them.
    leading = weights.shape[: max(self.given - 1, 0)]
    return weights.reshape((*leading, weights.shape[self.axis]))

  def rows(self, x: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """Weights with `axis` moved to the end, as normalizers take them."""
    return jnp.moveaxis(x, self.axis, -1)

  def back(self, x: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """The inverse of `rows`."""
    return jnp.moveaxis(x, -1, self.axis)

  def row_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of one number per row, from that of weights in the input's rank."""
    if self.given == self.rank:
      return shape[: self.axis] + shape[self.axis + 1 :]
    return shape[: max(self.given - 1, 0)]


def axis_of(inputs: Float[Array, "..."], axis: int) -> int:
  """The axis counted from 0; raises ValueError if the input lacks it."""
  rank = inputs.ndim
  if not -rank <= axis < rank:
    raise ValueError(
      f"glimpse: axis must be one of the {rank} axes of the inputs, whose shape"
      f" is {list(inputs.shape)}, got {axis}"
    )
  return axis % rank


def lay(
  name: str,
  x: Float[Array, "..."] | Bool[Array, "..."],
  inputs: Float[Array, "..."],
  axis: int,
) -> Array:
  """Reshapes logits or a mask to the rank of the input; see `WeightAxes`."""
  shape = _in_rank(x.shape, inputs.ndim, axis)
  fits = shape is not None and all(
    a == b or 1 in (a, b) for a, b in zip(shape, inputs.shape, strict=True)
  )

  # A row of one logit would have weight 1, whatever the logit.
  sizes = (inputs.shape[axis], 1) if name == "mask" else (inputs.shape[axis],)
  if shape is None or not fits or shape[axis] not in sizes:
    length = inputs.shape[axis]
    last = f"{length} or 1" if name == "mask" else str(length)
    raise ValueError(
      f"glimpse: {name} of shape {list(x.shape)} do not lie on inputs of shape"
      f" {list(inputs.shape)} along axis {axis}; give either {inputs.ndim} axes"
      f" that broadcast (and have size {last} on axis {axis}), or at most"
      f" {axis + 1}: the first axes of the inputs, then one of size {last}"
    )
  return x.reshape(shape)


def _in_rank(
  shape: tuple[int, ...], rank: int, axis: int
) -> tuple[int, ...] | None:
  """Shape of logits in the rank of the input; None where they do not fit."""
  if len(shape) == rank:
    return shape

  # Axes between the leading ones and `axis`, and those after it, have size 1.
  leading, last = shape[:-1], shape[-1:] or (1,)
  if len(shape) > rank or len(leading) > axis:
    return None
  between = (1,) * (axis - len(leading))
  return (*leading, *between, *last, *(1,) * (rank - axis - 1))


class Scaled(NamedTuple):
  """Logits in the rank of an input, divided by the temperature.

  Args:
    logits: in the rank of the input, float32 or better; -inf is hidden.
    seen: which of them are not hidden.
    layout: how their axes map to those of the input.
  """

  logits: Float[Array, "..."]
  seen: Bool[Array, "..."]
  layout: WeightAxes


def scaled(inputs, logits, axis, temperature, mask) -> Scaled:
  """Reshapes logits and mask to the input's rank; divides by temperature."""
  wrong = _check(inputs, logits, temperature)

  dtype = compute_dtype(inputs, logits)
  axis = axis_of(inputs, axis)
  given = logits.ndim
  logits = lay("logits", logits, inputs, axis).astype(dtype)
  seen = ~jnp.isneginf(logits)

  if mask is not None:
    mask = jnp.asarray(mask)
    if mask.dtype != jnp.bool_:
      raise ValueError(
        f"glimpse: mask must be bool, True where a part is seen, got"
        f" {mask.dtype}; compare, or add a bias of your own to the logits"
      )
    seen = seen & lay("mask", mask, inputs, axis)
    given = max(given, mask.ndim)

  temperature = poison(jnp.asarray(temperature, dtype), wrong)
  # Of the rank of the logits, for rank promotion is strict.
  temperature = temperature.reshape((1,) * logits.ndim)
  # `where` before the division too: the gradient of -inf / temperature is NaN.
  logits = jnp.where(seen, logits, 0) / temperature
  logits = jnp.where(seen, logits, -jnp.inf)
  return Scaled(logits, seen, WeightAxes(axis, inputs.ndim, given))


def weigh(logits: Float[Array, "... S"], normalizer) -> Float[Array, "... S"]:
  """Weights of rows of logits by a normalizer, or by the name of one."""
  if isinstance(normalizer, normalizers.Normalizer):
    # A glimpse has no head axis: only what is the same for all heads fits.
    normalizer.validate(0)
    return normalizer(logits)[0]
  if not isinstance(normalizer, str) or normalizer not in NORMALIZERS:
    raise ValueError(
      f"glimpse: normalizer must be one of {', '.join(NORMALIZERS)}, or one of"
      f" attnjax.normalizers, got {normalizer!r}"
    )
  return NORMALIZERS[normalizer](logits)


def compute_dtype(*arrays) -> jnp.dtype:
  """dtype of the arithmetic: float64 where an array is, else float32."""
  wide = any(x.dtype == jnp.float64 for x in arrays)
  return jnp.dtype("float64" if wide else "float32")


def _hard(logits):
  """One-hot of the largest logit, with the gradient of softmax."""
  soft = normalizers.softmax()(logits)[0]
  chosen = largest(logits, 1) & ~jnp.isneginf(logits)
  # In this order, because (chosen + soft) - soft would be rounded.
  return chosen.astype(soft.dtype) + (soft - jax.lax.stop_gradient(soft))


NORMALIZERS = {
  # Raw logits, where they are not hidden.
  "none": lambda logits: jnp.where(jnp.isneginf(logits), 0, logits),
  "softmax": lambda logits: normalizers.softmax()(logits)[0],
  "sigmoid": lambda logits: normalizers.sigmoid()(logits)[0],
  "hard": _hard,
}


def _check(inputs, logits, temperature) -> Bool[Array, ""] | None:
  """Checks dtypes and temperature; traced ones at run time (`refuse`)."""
  for name, x in (("inputs", inputs), ("logits", logits)):
    if x.ndim < 1:
      raise ValueError(f"glimpse: {name} must have an axis, got a scalar")
    if not jnp.issubdtype(x.dtype, jnp.floating):
      raise ValueError(
        f"glimpse: {name} must be floating point, got {x.dtype}; cast them, or"
        " embed them if they are ids"
      )

  if jnp.ndim(temperature):
    raise ValueError(
      f"glimpse: temperature must be one number, got shape"
      f" {list(jnp.shape(temperature))}; divide the logits by an array instead"
    )

  return refuse(
    lambda x: ~((x > 0) & (x < math.inf)),
    lambda x: ValueError(
      f"glimpse: temperature must be above 0 and finite, got {x};"
      " normalizer='hard' is its limit at 0"
    ),
    temperature,
  )
