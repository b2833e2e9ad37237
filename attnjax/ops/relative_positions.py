"""Distances of positions, and T5's buckets of them with their learned table."""

import string

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.integers import place
from attnjax.typing import Array, Float, Int, Shaped

__all__ = ["bucket_of", "check_buckets", "distance", "look_up"]


def distance(
  q: Int[Array | np.ndarray, "..."] | int,
  k: Int[Array | np.ndarray, "..."] | int,
) -> Shaped[Array, "..."]:
  """The distance |q - k| of two positions as uint32, exact for all of int32.

  >>> int(distance(2**31 - 1, -(2**31)))
  4294967295
  """
  q, k = (jnp.asarray(place(x), jnp.int32) for x in (q, k))
  # The difference of two int32 needs 32 bits and a sign. Of the greater less
  # the lesser the sign is known, and modulo 2^32 its 32 bits are exact.
  greater, lesser = jnp.maximum(q, k), jnp.minimum(q, k)
  return greater.astype(jnp.uint32) - lesser.astype(jnp.uint32)


def check_buckets(buckets: int, bidirectional: bool, farthest: int) -> None:
  """Raises ValueError unless each direction has buckets of both kinds."""
  least = 4 if bidirectional else 2
  if buckets < least or (bidirectional and buckets % 2):
    even = "an even number of rows, " if bidirectional else ""
    raise ValueError(
      f"relative_bias: the table must have {even}at least {least}, with"
      f" bidirectional={bidirectional}, got {buckets}"
    )

  exact = _split(buckets, bidirectional)[1]
  if not isinstance(farthest, int) or not exact < farthest <= 2**30:
    raise ValueError(
      f"relative_bias: max_distance must be a Python int > {exact}, the"
      f" distances that have a bucket each, and <= 2**30, got {farthest!r}"
    )


def _split(buckets: int, bidirectional: bool) -> tuple[int, int]:
  """Buckets of one direction, and how many hold one distance each."""
  one_way = buckets // 2 if bidirectional else buckets
  return one_way, one_way // 2


def _bounds(one_way: int, exact: int, farthest: int) -> list[int]:
  """First distance of each logarithmic bucket but the first, as integers.

  Bucket X + j begins at the least n with (n / X)^L >= (farthest / X)^j, for L
  logarithmic buckets. The logarithm, in floating point, puts a bound that is a
  whole number on this side of it or the other from machine to machine.
  """
  logarithmic, bounds = one_way - exact, []
  for j in range(1, logarithmic):
    goal = farthest**j * exact ** (logarithmic - j)

    # By bisection in Python's integers, which do not overflow.
    low, high = exact, farthest
    while low < high:
      middle = (low + high) // 2
      low, high = (
        (low, middle) if middle**logarithmic >= goal else (middle + 1, high)
      )
    bounds.append(low)

  return bounds


def bucket_of(
  q: Int[Array, "..."],
  k: Int[Array, "..."],
  buckets: int,
  bidirectional: bool,
  farthest: int,
) -> Int[Array, "..."]:
  """The row of the table for each pair of positions."""
  one_way, exact = _split(buckets, bidirectional)
  after, far = jnp.asarray(k > q), distance(q, k)
  if not bidirectional:
    far = jnp.where(after, 0, far)

  bucket = jnp.minimum(far, exact).astype(jnp.int32)
  for bound in _bounds(one_way, exact, farthest):
    bucket = bucket + (far >= bound).astype(jnp.int32)

  if not bidirectional:
    return bucket
  return jnp.where(after, bucket + one_way, bucket)


@jax.custom_jvp
def look_up(
  table: Float[Array, "N H"], bucket: Int[Array, "..."], head: Int[Array, "..."]
) -> Float[Array, "..."]:
  """Looks up table[bucket, head]; the tangent is a product, not a gather.

  The transpose of a gather adds up at random places: slow on a CPU, and on a
  GPU in another order each run. That of a product is fast and deterministic.
  """
  return table[bucket, head]


@look_up.defjvp
def _look_up_jvp(primals, tangents):
  """JVP of the lookup, Σ_n [bucket = n] dtable[n, head]: a product over n."""
  table, bucket, head = primals
  chosen = jax.nn.one_hot(bucket, table.shape[0], axis=0, dtype=table.dtype)
  moved = _contract(chosen, tangents[0][:, head])
  return look_up(*primals), moved


def _contract(
  x: Float[Array, "N ..."], y: Float[Array, "N ..."]
) -> Float[Array, "..."]:
  """Contracts axis 0, Σ_n x[n] y[n], of arrays of one rank that broadcast."""
  shape = jnp.broadcast_shapes(x.shape[1:], y.shape[1:])
  letters = string.ascii_lowercase[: len(shape)]

  # Axes of size 1 go, so that what only one side has is not multiplied out.
  own = [
    "".join(a for a, n in zip(letters, z.shape[1:], strict=True) if n != 1)
    for z in (x, y)
  ]
  out = "".join(a for a in letters if a in own[0] or a in own[1])
  x, y = (
    z.reshape((z.shape[0], *(n for n in z.shape[1:] if n != 1))) for z in (x, y)
  )

  # Exact: the other factor is 0 or 1, and the table is not to be rounded.
  precision = jax.lax.Precision.HIGHEST
  product = jnp.einsum(f"N{own[0]},N{own[1]}->{out}", x, y, precision=precision)
  return product.reshape(shape)
