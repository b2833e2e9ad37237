"""From the logits of a context to the weights of a glimpse."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from attnjax.ops import normalizers
from attnjax.ops.glimpse.layout import Layout, axis_of, lay
from attnjax.ops.known import poison, refuse
from attnjax.ops.normalizers.protocol import largest
from attnjax.typing import Array, Bool, Float

__all__ = ["NORMALIZERS", "Scaled", "scaled", "weigh"]


class Scaled(NamedTuple):
  """Logits that lie on an input, over their temperature.

  Args:
    logits: in the rank of the input, float32 or better; -inf is hidden.
    seen: which of them are not hidden.
    layout: how their axes map to those of the input.
  """

  logits: Float[Array, "..."]
  seen: Bool[Array, "..."]
  layout: Layout


def scaled(inputs, logits, axis, temperature, mask) -> Scaled:
  """Lays logits and mask on the input and divides by the temperature."""
  wrong = _check(inputs, logits, temperature)
  dtype = compute_dtype(inputs, logits)
  axis = axis_of(inputs, axis)
  laid = lay("logits", logits, inputs, axis).astype(dtype)
  seen, given = ~jnp.isneginf(laid), logits.ndim
  if mask is not None:
    mask = jnp.asarray(mask)
    if mask.dtype != jnp.bool_:
      raise ValueError(
        f"glimpse: mask must be bool, True where a part is seen, got"
        f" {mask.dtype}; compare, or add a bias of your own to the logits"
      )
    seen = seen & lay("mask", mask, inputs, axis)
    given = max(given, mask.ndim)
  heat = poison(jnp.asarray(temperature, dtype), wrong)
  # Selected before the division too: its gradient would be -inf * 0.
  warm = jnp.where(seen, laid, 0) / heat.reshape((1,) * laid.ndim)
  return Scaled(
    jnp.where(seen, warm, -jnp.inf), seen, Layout(axis, inputs.ndim, given)
  )


def weigh(logits: Float[Array, "... S"], normalizer) -> Float[Array, "... S"]:
  """The weights of rows of logits, in which -inf is hidden."""
  if isinstance(normalizer, normalizers.Normalizer):
    # A glimpse has no heads: only what is the same for all of them fits.
    normalizer.validate(0)
    return normalizer(logits)[0]
  if not isinstance(normalizer, str) or normalizer not in NORMALIZERS:
    raise ValueError(
      f"glimpse: normalizer must be one of {', '.join(NORMALIZERS)}, or one of"
      f" attnjax.normalizers, got {normalizer!r}"
    )
  return NORMALIZERS[normalizer](logits)


def compute_dtype(*arrays) -> jnp.dtype:
  """float32; float64 where an array is."""
  wide = any(x.dtype == jnp.float64 for x in arrays)
  return jnp.dtype("float64" if wide else "float32")


def _none(logits):
  """The logits themselves; 0 where hidden."""
  return jnp.where(jnp.isneginf(logits), 0, logits)


def _softmax(logits):
  """Weights that sum to 1, or to 0 where nothing is seen."""
  return normalizers.softmax()(logits)[0]


def _sigmoid(logits):
  """A gate for each part by itself."""
  return normalizers.sigmoid()(logits)[0]


def _hard(logits):
  """1 on the largest, with the gradient of softmax: straight through."""
  soft = _softmax(logits)
  chosen = largest(logits, 1) & ~jnp.isneginf(logits)
  # In this order: the difference is exactly 0, and the weight exactly 0 or 1.
  return chosen.astype(soft.dtype) + (soft - jax.lax.stop_gradient(soft))


NORMALIZERS = {
  "none": _none,
  "softmax": _softmax,
  "sigmoid": _sigmoid,
  "hard": _hard,
}


def _check(inputs, logits, temperature) -> Bool[Array, ""] | None:
  """Real numbers, and a temperature above 0; what is found out when it runs."""
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
