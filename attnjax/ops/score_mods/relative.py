"""Biases learned for buckets of relative positions, as in T5."""

import string
from typing import Any

import jax
import jax.numpy as jnp

from attnjax.ops.node import node, static
from attnjax.ops.score_mods.protocol import ScoreMod, distance
from attnjax.ops.value import written
from attnjax.typing import Array, Float, Int

__all__ = ["relative_bias"]

_FAR = 128  # T5's distance from which on all are alike


@node
class _RelativeBias(ScoreMod):
  table: Any
  bidirectional: bool = static()
  max_distance: int = static()

  def __repr__(self):
    named: dict = {}
    if not self.bidirectional:
      named["bidirectional"] = False
    if self.max_distance != _FAR:
      named["max_distance"] = self.max_distance
    return written("relative_bias", self.table, **named)

  @property
  def footprint(self):
    # The gradient of the table is a product with one-hot buckets.
    return max(jnp.shape(self.table)[0], 1)

  def __call__(self, logit, b, h, q, k):
    table = jnp.asarray(self.table)
    bucket = _bucket(
      q, k, table.shape[0], self.bidirectional, self.max_distance
    )
    rank = max(jnp.ndim(bucket), jnp.ndim(h))
    bucket, h = (
      jnp.reshape(x, (1,) * (rank - jnp.ndim(x)) + jnp.shape(x))
      for x in (bucket, h)
    )
    return logit + _look_up(table.astype(logit.dtype), bucket, h)

  def validate(self, batch, heads):
    shape = jnp.shape(self.table)
    if len(shape) != 2 or shape[1] != heads:
      raise ValueError(
        f"score_mod relative_bias: table has shape {list(shape)}, expected one"
        f" row a bucket and one column a query head, [buckets, {heads}]"
      )


def relative_bias(
  table: Float[Array, "N H"],
  bidirectional: bool = True,
  max_distance: int = _FAR,
) -> ScoreMod:
  """T5's relative bias: logit + table[bucket(k - q), h].

  Distances below half of a direction's buckets have a bucket each; above, the
  buckets grow geometrically to `max_distance`, and the last holds all beyond:

      bucket(n) = n                                             for n < X
      bucket(n) = min(X + ⌊X log(n / X) / log(max_distance / X)⌋, 2X - 1)

  for 2X buckets a direction (an odd count rounds X down and gives the
  logarithm the more).

  Args:
    table: logits to add, ``N H``: a row a bucket, a column a query head.
      Gradients reach it.
    bidirectional: the first half of the buckets is for keys before the query
      and at it, the second for keys after it. False gives all to those before,
      and keys after count as distance 0, for causal masks.
    max_distance: in positions, more than X; at it the logarithm leaves the
      last bucket, which holds all that is farther too.

  Raises:
    ValueError: if the buckets do not divide so, or, in `attend`, if the table
      has not H columns.

  >>> import jax.numpy as jnp
  >>> table = jnp.arange(8.0)[:, None]  # so the bias is the bucket
  >>> mod = relative_bias(table, max_distance=16)
  >>> zero, q, k = jnp.zeros(11), jnp.full(11, 5), jnp.arange(11)
  >>> mod(zero, 0, jnp.zeros(11, int), q, k).astype(int).tolist()
  [2, 2, 2, 2, 1, 0, 5, 6, 6, 6, 6]

  Reference:
    Raffel et al., "Exploring the Limits of Transfer Learning with a Unified
    Text-to-Text Transformer", 2019, arXiv 1910.10683, section 2.1; the formula
    is that of its code.
  """
  if jnp.ndim(table) == 2:
    _check_buckets(jnp.shape(table)[0], bidirectional, max_distance)
  return _RelativeBias(table, bidirectional, max_distance)


def _check_buckets(buckets: int, bidirectional: bool, farthest: int) -> None:
  """Each direction has an exact and a logarithmic bucket, at least."""
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
  """Buckets of one direction, and how many of them are exact."""
  one_way = buckets // 2 if bidirectional else buckets
  return one_way, one_way // 2


def _bounds(one_way: int, exact: int, farthest: int) -> list[int]:
  """Where each logarithmic bucket but the first begins, in whole numbers.

  Bucket X + j begins at the least n with (n / X)^L >= (farthest / X)^j, for L
  logarithmic buckets. The logarithm, in floating point, puts a bound that is a
  whole number on this side of it or the other from machine to machine.
  """
  logarithmic, bounds = one_way - exact, []
  for j in range(1, logarithmic):
    goal = farthest**j * exact ** (logarithmic - j)
    low, high = exact, farthest
    while low < high:
      middle = (low + high) // 2
      low, high = (
        (low, middle) if middle**logarithmic >= goal else (middle + 1, high)
      )
    bounds.append(low)
  return bounds


def _bucket(
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
def _look_up(
  table: Float[Array, "N H"], bucket: Int[Array, "..."], head: Int[Array, "..."]
) -> Float[Array, "..."]:
  """table[bucket, head]; the tangent is a product instead of a gather.

  The transpose of a gather adds up at random places: slow on a CPU, and on a
  GPU in another order each run. That of a product is fast and deterministic.
  """
  return table[bucket, head]


@_look_up.defjvp
def _look_up_jvp(primals, tangents):
  """Σ_n [bucket = n] dtable[n, head], as a product over n."""
  table, bucket, head = primals
  chosen = jax.nn.one_hot(bucket, table.shape[0], axis=0, dtype=table.dtype)
  moved = _contract(chosen, tangents[0][:, head])
  return _look_up(*primals), moved


def _contract(
  x: Float[Array, "N ..."], y: Float[Array, "N ..."]
) -> Float[Array, "..."]:
  """Σ_n x[n] y[n] of arrays of one rank that broadcast."""
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
