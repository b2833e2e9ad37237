"""Score mods: functions of a logit and of its query and key positions.

A score mod is a frozen pytree called as ``mod(logit, b, h, q, k) -> logit``:
batch row, query head, query position and key position, pointwise and
broadcasting. Arrays it captures are leaves, and gradients reach them.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnjax.ops.captured import refuse_captured
from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.ops.relative_positions import (
  bucket_of,
  check_buckets,
  distance,
  look_up,
)
from attnjax.ops.value import Value, format_call
from attnjax.typing import Array, Float

__all__ = [
  "ScoreMod",
  "alibi",
  "compose",
  "from_fn",
  "relative_bias",
  "softcap",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ScoreMod(Value):
  """Base of score mods: a new logit from a logit and its positions.

  >>> from attnjax import score_mods
  >>> isinstance(score_mods.softcap(30.0), score_mods.ScoreMod)
  True
  """

  @property
  def footprint(self) -> int:
    """Numbers in memory per logit during the gradient; sizes the blocks."""
    return 1

  def __call__(self, logit, b, h, q, k):
    """Returns the new logit, pointwise and broadcasting."""
    raise NotImplementedError

  def validate(self, batch: tuple[int, ...], heads: int) -> None:
    """Raises ValueError if a captured array does not fit this call."""


@pytree_dataclass
class _FromFn(ScoreMod):
  """The score mod of `from_fn`."""

  fn: Callable = static()
  arrays: tuple

  def __repr__(self):
    return format_call("from_fn", self.fn, *self.arrays)

  def __call__(self, logit, b, h, q, k):
    arrays = jax.tree.map(jnp.asarray, self.arrays)
    return self.fn(logit, b, h, q, k, *arrays)


@pytree_dataclass
class _Compose(ScoreMod):
  """The score mod of `compose`."""

  mods: tuple

  def __repr__(self):
    return format_call("compose", *self.mods)

  @property
  def footprint(self):
    # The largest and not the sum: they run one after another.
    return max((mod.footprint for mod in self.mods), default=1)

  def __call__(self, logit, b, h, q, k):
    for mod in self.mods:
      logit = mod(logit, b, h, q, k)
    return logit

  def validate(self, batch, heads):
    for mod in self.mods:
      mod.validate(batch, heads)


def from_fn(fn: Callable, *arrays) -> ScoreMod:
  """Any function as a score mod: ``fn(logit, b, h, q, k, *arrays) -> logit``.

  A FlexAttention ``score_mod`` ports as it is, but for traced arrays that it
  closes over: give those as `arrays`. The function is part of the
  compiled program's identity: define it once, at top level.

  Args:
    fn: pointwise and broadcasting: b is ``B 1 1 1``, h is ``1 H 1 1``, q is
      ``.. T 1`` and k ``.. 1 S``. For a hidden key it is called with logit 0. A
      function that may be undefined there (say, a log of the distance) is
      called with k = q instead, where it must be finite; k then has the axis
      of queries too, which costs more where the function gathers by k.
    *arrays: captured arrays (or pytrees of them); gradients reach them.

  >>> import jax.numpy as jnp
  >>> halve = from_fn(lambda logit, b, h, q, k: logit / 2)
  >>> float(halve(jnp.float32(3), 0, 0, 0, 0))
  1.5
  """
  # Here and not at the call, so that the error names the line that made it.
  refuse_captured("score_mods.from_fn", fn)
  return _FromFn(fn, arrays)


def compose(*mods: ScoreMod) -> ScoreMod:
  """Composition of score mods: the first given is applied first.

  >>> import jax.numpy as jnp
  >>> from attnjax.score_mods import softcap
  >>> both = compose(from_fn(lambda s, b, h, q, k: s + 1), softcap(1.0))
  >>> float(both(jnp.float32(-1), 0, 0, 0, 0))
  0.0
  """
  return _Compose(mods)


@pytree_dataclass
class _Softcap(ScoreMod):
  """The score mod of `softcap`."""

  cap: float = static()

  def __repr__(self):
    return format_call("softcap", self.cap)

  def __call__(self, logit, b, h, q, k):
    # No -inf comes here: the logit of a hidden key is 0.
    return self.cap * jnp.tanh(logit / self.cap)


@pytree_dataclass
class _Alibi(ScoreMod):
  """The score mod of `alibi`."""

  slopes: Any

  def __repr__(self):
    return format_call("alibi", self.slopes)

  def __call__(self, logit, b, h, q, k):
    slope = jnp.asarray(self.slopes)[h].astype(logit.dtype)
    # float32 holds distances exactly up to 2^24 only.
    return logit - slope * distance(q, k).astype(logit.dtype)

  def validate(self, batch, heads):
    if jnp.shape(self.slopes) != (heads,):
      raise ValueError(
        f"score_mod alibi: slopes have shape {list(jnp.shape(self.slopes))},"
        f" expected one a query head, [{heads}]; positions.alibi_slopes(heads)"
        " makes them"
      )


def softcap(cap: float) -> ScoreMod:
  """Soft cap of logits to ±cap: cap · tanh(logit / cap).

  Args:
    cap: a positive number, in the unit of the logits.

  Raises:
    ValueError: if the cap is not positive.

  >>> import jax.numpy as jnp
  >>> float(softcap(2.0)(jnp.float32(1e6), 0, 0, 0, 0))
  2.0

  Reference:
    Gemma Team, "Gemma 2: Improving Open Language Models at a Practical Size",
    2024, arXiv 2408.00118, section 2.
  """
  if not 0 < cap < math.inf:
    raise ValueError(f"softcap: cap must be positive and finite, got {cap!r}")
  return _Softcap(float(cap))


def alibi(slopes: Float[Array, " H"]) -> ScoreMod:
  """Attention with linear biases: logit - slope[h] · |q - k|.

  Args:
    slopes: one a query head, >= 0, in logits a position; see
      `positions.alibi_slopes`. Gradients reach them.

  >>> import jax.numpy as jnp
  >>> mod = alibi(jnp.array([0.5]))
  >>> float(mod(jnp.float32(0), 0, jnp.int32(0), jnp.int32(7), jnp.int32(3)))
  -2.0

  Reference:
    Press, Smith, Lewis, "Train Short, Test Long: Attention with Linear Biases
    Enables Input Length Extrapolation", 2021, arXiv 2108.12409.
  """
  return _Alibi(slopes)


_FAR = 128  # T5: all distances from here on share the last bucket


@pytree_dataclass
class _RelativeBias(ScoreMod):
  """The score mod of `relative_bias`."""

  table: Any
  bidirectional: bool = static()
  max_distance: int = static()

  def __repr__(self):
    named: dict = {}
    if not self.bidirectional:
      named["bidirectional"] = False
    if self.max_distance != _FAR:
      named["max_distance"] = self.max_distance
    return format_call("relative_bias", self.table, **named)

  @property
  def footprint(self):
    # The gradient of the table is a product with one-hot buckets.
    return max(jnp.shape(self.table)[0], 1)

  def __call__(self, logit, b, h, q, k):
    table = jnp.asarray(self.table)
    bucket = bucket_of(
      q, k, table.shape[0], self.bidirectional, self.max_distance
    )

    # One rank for both indices: rank promotion is strict.
    rank = max(jnp.ndim(bucket), jnp.ndim(h))
    bucket, h = (
      jnp.reshape(x, (1,) * (rank - jnp.ndim(x)) + jnp.shape(x))
      for x in (bucket, h)
    )
    return logit + look_up(table.astype(logit.dtype), bucket, h)

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

  for 2X buckets per direction. Where their count is odd, X is rounded down and
  the logarithmic part has one bucket more.

  Args:
    table: logits to add, ``N H``: a row a bucket, a column a query head.
      Gradients reach it.
    bidirectional: the first half of the buckets is for keys at or before the
      query, the second for keys after it. False, for causal masks, uses all
      for keys before; keys after it count as distance 0.
    max_distance: in positions, more than X; all distances from it on are in
      the last bucket.

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
  # A table of another rank is refused by `validate`, which knows H.
  if jnp.ndim(table) == 2:
    check_buckets(jnp.shape(table)[0], bidirectional, max_distance)
  return _RelativeBias(table, bidirectional, max_distance)
