"""Squared distances and unit vectors, without cancellation or overflow."""

import functools

import jax
import jax.numpy as jnp

from attnjax.typing import Array, Float, PrecisionLike

__all__ = ["squared_distance", "unit_vectors"]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def squared_distance(
  precision: PrecisionLike,
  query: Float[Array, "... G T D"],
  key: Float[Array, "... S D"],
) -> Float[Array, "... G T S"]:
  """Squared distance |q[t] - k[s]|², exactly 0 where they are equal.

  >>> import jax.numpy as jnp
  >>> x = jnp.array([[4096.0], [4097.0]])
  >>> squared_distance(None, x[None], x).tolist()
  [[[0.0, 1.0], [1.0, 0.0]]]
  """
  # Not |q|² + |k|² - 2 q·k, which cancels where the two are close.
  difference = query[..., None, :] - key[..., None, None, :, :]
  return jnp.sum(difference * difference, axis=-1)


@squared_distance.defjvp
def _squared_distance_jvp(precision, primals, tangents):
  """JVP of the squared distance, 2 (q - k) · (dq - dk), multiplied out.

  At distance R from the origin the terms grow with R, not R², so cancellation
  loses no more than the rounding of the inputs did; and unlike differences, the
  products need no array ``... G T S D``.
  """
  (q, k), (dq, dk) = primals, tangents
  cross = functools.partial(
    jnp.einsum, "...gtd,...sd->...gts", precision=precision
  )

  own = jnp.sum(q * dq, axis=-1)[..., None]
  own = own + jnp.sum(k * dk, axis=-1)[..., None, None, :]

  tangent = 2 * (own - cross(q, dk) - cross(dq, k))
  return squared_distance(precision, q, k), tangent


def unit_vectors(x: Float[Array, "... D"]) -> Float[Array, "... D"]:
  """Unit vectors x / |x|; the zero vector stays zero, with gradient 0.

  >>> import jax.numpy as jnp
  >>> x = unit_vectors(jnp.array([[3e-30, 4e-30], [0.0, 0.0]]))
  >>> jnp.linalg.norm(x, axis=-1).round(4).tolist()
  [1.0, 0.0]
  """
  # Dividing by the largest entry keeps squares within range. x / |x| does not
  # depend on that scale, so no gradient flows through it.
  largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True, initial=0)
  largest = jax.lax.stop_gradient(largest)

  # The inverse of a subnormal number would overflow: it counts as 0.
  some = ~(largest < jnp.finfo(x.dtype).tiny)
  x = jnp.where(some, x / jnp.where(some, largest, 1), 0)

  square = jnp.sum(x * x, axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.where(some, square, 1))
