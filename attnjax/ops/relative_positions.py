"""Distances of positions, and lookup of T5's relative position buckets."""

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
  # k - q may overflow int32. Greater minus lesser is not negative and fits 32
  # bits, so that the subtraction modulo 2^32 is exact.
  greater, lesser = jnp.maximum(q, k), jnp.minimum(q, k)
  return greater.astype(jnp.uint32) - lesser.astype(jnp.uint32)


def check_buckets(buckets: int, bidirectional: bool, farthest: int) -> None:
  """Raises ValueError unless each direction has exact and log buckets."""
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
  """Buckets per direction, and how many of them hold a single distance."""
  one_way = buckets // 2 if bidirectional else buckets
  return one_way, one_way // 2


def _bounds(one_way: int, exact: int, farthest: int) -> list[int]:
  """Lower bounds of the logarithmic buckets but the first, exact integers.

  Bucket X + j begins at the least n with (n / X)^L >= (farthest / X)^j, for L
  logarithmic buckets. A floating-point logarithm would put distances at an
  exact bound into different buckets on different machines.
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
    # In a causal model a mask hides these keys: any bucket would do.
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
  """Looks up table[bucket, head], with a gradient by a one-hot product.

  The transpose of a gather is a scatter-add: slow on a CPU, and on a GPU its
  order of summation changes from run to run. A product is deterministic.
  """
  return table[bucket, head]


@look_up.defjvp
def _look_up_jvp(primals, tangents):
  """JVP of the lookup, Σ_n [bucket = n] dtable[n, head]: a product over n."""
  table, bucket, head = primals
  chosen = jax.nn.one_hot(bucket, table.shape[0], axis=0, dtype=table.dtype)
  tangent = _contract(chosen, tangents[0][:, head])
  return look_up(*primals), tangent


def _contract(
  x: Float[Array, "N ..."], y: Float[Array, "N ..."]
) -> Float[Array, "..."]:
  """Contracts axis 0, Σ_n x[n] y[n], of arrays of one rank that broadcast."""
  shape = jnp.broadcast_shapes(x.shape[1:], y.shape[1:])
  letters = string.ascii_lowercase[: len(shape)]

  # Axes of size 1 are dropped, so that einsum does not broadcast over them.
  own = [
    "".join(a for a, n in zip(letters, z.shape[1:], strict=True) if n != 1)
    for z in (x, y)
  ]
  out = "".join(a for a in letters if a in own[0] or a in own[1])
  x, y = (
    z.reshape((z.shape[0], *(n for n in z.shape[1:] if n != 1))) for z in (x, y)
  )

  # At the default precision a TPU or GPU would round the table.
  precision = jax.lax.Precision.HIGHEST
  product = jnp.einsum(f"N{own[0]},N{own[1]}->{out}", x, y, precision=precision)
  return product.reshape(shape)
