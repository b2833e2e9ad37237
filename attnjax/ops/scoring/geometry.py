"""Scorings that measure: the angle, or the distance, of a query and a key."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from attnjax.ops.known import poison, refuse
from attnjax.ops.node import node
from attnjax.ops.scoring.protocol import Scoring
from attnjax.ops.value import written
from attnjax.typing import Array, Float

__all__ = ["cosine", "gaussian"]


@node
class _Cosine(Scoring):
  temperature: Any

  def __repr__(self):
    return written("cosine", self.temperature)

  def prepare(self, query, key, precision=None):
    temperature = _positive("cosine", "temperature", self.temperature, query)
    return _unit(query) / temperature, _unit(key)

  def validate(self, width):
    _check_scalar("cosine", "temperature", self.temperature)


@node
class _Gaussian(Scoring):
  bandwidth: Any

  def __repr__(self):
    return written("gaussian", self.bandwidth)

  # Multiplied out, q · k - |q|²/2 - |k|²/2 is one dot product. But near keys,
  # which are all that counts, would be small differences of large numbers: an
  # error of R² eps at distance R from the origin. Centring the data first
  # would make a row depend on the keys it may not see. So distances are taken
  # as they are defined; XLA fuses the sum and holds one number a logit.
  def score(self, query, key, precision=None):
    inverse = 1 / _positive("gaussian", "bandwidth", self.bandwidth, query)
    # One factor after the other: the square of a small bandwidth underflows.
    distance = _squared_distance(precision, query, key)
    return distance * inverse * (-0.5 * inverse)

  def validate(self, width):
    _check_scalar("gaussian", "bandwidth", self.bandwidth)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _squared_distance(precision, query, key):
  """|q[t] - k[s]|², exactly 0 where they are equal."""
  difference = query[..., None, :] - key[..., None, None, :, :]
  return jnp.sum(difference * difference, axis=-1)


@_squared_distance.defjvp
def _squared_distance_jvp(precision, primals, tangents):
  """2 (q - k) · (dq - dk), multiplied out.

  The derivative grows with R and not R²: products lose no more here than the
  rounding of the inputs has, and they hold nothing of width D for each logit.
  """
  (q, k), (dq, dk) = primals, tangents
  cross = functools.partial(
    jnp.einsum, "...gtd,...sd->...gts", precision=precision
  )
  own = jnp.sum(q * dq, axis=-1)[..., None]
  own = own + jnp.sum(k * dk, axis=-1)[..., None, None, :]
  tangent = 2 * (own - cross(q, dk) - cross(dq, k))
  return _squared_distance(precision, q, k), tangent


def _unit(x: Float[Array, "... D"]) -> Float[Array, "... D"]:
  """x / |x|; the zero vector stays zero, with gradient 0."""
  # A unit vector does not change with the length of x, so the largest entry may
  # be divided out without a gradient: no square over- or underflows.
  largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True, initial=0)
  largest = jax.lax.stop_gradient(largest)
  # The inverse of a denormal number would overflow.
  some = ~(largest < jnp.finfo(x.dtype).tiny)
  x = jnp.where(some, x / jnp.where(some, largest, 1), 0)
  square = jnp.sum(x * x, axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.where(some, square, 1))


def _check_scalar(rule: str, name: str, value):
  """A positive number, or a scalar array; what is found out when it runs."""
  shape = jnp.shape(value)
  if shape != ():
    raise ValueError(
      f"scoring {rule}: {name} must be one number for all heads, got shape"
      f" {list(shape)}; scale the queries and keys of each head instead"
    )
  return refuse(
    lambda x: ~((x > 0) & (x < math.inf)),
    lambda x: ValueError(
      f"scoring {rule}: {name} must be positive and finite, got {x}; to learn"
      " it without bounds, give its exponential"
    ),
    value,
  )


def _positive(rule: str, name: str, value, like) -> Float[Array, ""]:
  """The number in the dtype of the logits; NaN where it is out of range."""
  number = jnp.asarray(value, like.dtype)
  return poison(number, _check_scalar(rule, name, value))


def cosine(temperature: float | Float[Array, ""]) -> Scoring:
  """Cosine of the angle, over a temperature.

      logit[t, s] = q[t] · k[s] / (|q[t]| |k[s]| temperature)

  Logits stay within ±1 / temperature; a zero vector has logit 0, gradient 0.

  Args:
    temperature: > 0; a smaller one tells keys apart more sharply. A scalar
      array gets gradients.

  Raises:
    ValueError: if the temperature is not a positive scalar.

  The length of a vector does not matter:

  >>> import jax, jax.numpy as jnp
  >>> q, k = jax.random.normal(jax.random.key(0), (2, 1, 5, 4))
  >>> rule = cosine(0.1)
  >>> bool(jnp.allclose(rule(q, k[0]), rule(1e-9 * q, 1e9 * k[0])))
  True

  Reference:
    Graves, Wayne, Danihelka, "Neural Turing Machines", 2014, arXiv 1410.5401,
    equations 5 and 6 (with the key strength β = 1 / temperature).
  """
  _check_scalar("cosine", "temperature", temperature)
  return _Cosine(temperature)


def gaussian(bandwidth: float | Float[Array, ""]) -> Scoring:
  """Gaussian kernel, logit[t, s] = -|q[t] - k[s]|² / (2 h²).

  Under softmax attention is then Nadaraya-Watson kernel regression: keys are
  where the function was seen, values what was seen there.

  Args:
    bandwidth: h > 0, in the unit of queries and keys. A scalar array gets
      gradients.

  Raises:
    ValueError: if the bandwidth is not a positive scalar.

  A common shift changes nothing, and a key at the query has logit 0:

  >>> import jax.numpy as jnp
  >>> x = jnp.arange(3.0)[:, None]
  >>> logits = gaussian(1.0)(x[None] + 4096, x + 4096)
  >>> logits[0, 1].tolist() == [-0.5, 0.0, -0.5]
  True

  Reference:
    Nadaraya, "On Estimating Regression", 1964; Watson, "Smooth Regression
    Analysis", 1964.
  """
  _check_scalar("gaussian", "bandwidth", bandwidth)
  return _Gaussian(bandwidth)
