"""Masks computed from positions."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from attnjax.moved import forward_names
from attnjax.ops.integers import moved, place
from attnjax.ops.masks.bounds import (
  batch_row,
  check_rows,
  integer_array,
  numpy_or_jax,
  some_every_below,
)
from attnjax.ops.masks.protocol import Mask
from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.ops.value import format_call
from attnjax.typing import ArrayLike

__all__ = [
  "causal",
  "chunked",
  "dilated",
  "full",
  "prefix",
  "query_prefix",
  "sliding_window",
]

Integer = int | np.integer

_MOST = 2**30  # the sum of two hyper-parameters must fit int32


def full() -> Mask:
  """Every query sees every key.

  >>> print(full().picture(2, 3))
  █ █ █
  █ █ █
  """
  return _Full()


def causal() -> Mask:
  """A query sees keys at its own position and before: k <= q.

  >>> print(causal().picture(3, 3))
  █ · ·
  █ █ ·
  █ █ █
  """
  return _Window(None, 0)


def sliding_window(left: Integer, right: Integer = 0) -> Mask:
  """A query sees its neighbourhood: q - left <= k <= q + right.

  Args:
    left: how many positions before its own a query sees, >= 0.
    right: how many positions after its own, >= 0. 0 makes it causal.

  Raises:
    ValueError: if a side is negative, or more than 2^30, where positions would
      overflow; a side without bound is `causal` or its transpose.

  >>> print(sliding_window(left=1, right=1).picture(4, 4))
  █ █ · ·
  █ █ █ ·
  · █ █ █
  · · █ █

  Reference:
    Beltagy, Peters, Cohan, "Longformer: The Long-Document Transformer", 2020,
    arXiv 2004.05150.
  """
  left = _at_least("sliding_window", "left", left, 0)
  return _Window(left, _at_least("sliding_window", "right", right, 0))


def dilated(stride: Integer) -> Mask:
  """A query sees every stride-th key: (q - k) % stride == 0.

  Args:
    stride: distance between seen keys, >= 1.

  Raises:
    ValueError: if the stride is below 1.

  >>> print((dilated(2) & causal()).picture(4, 4))
  █ · · ·
  · █ · ·
  █ · █ ·
  · █ · █

  Reference:
    Child, Gray, Radford, Sutskever, "Generating Long Sequences with Sparse
    Transformers", 2019, arXiv 1904.10509.
  """
  return _Dilated(_at_least("dilated", "stride", stride, 1))


def chunked(size: Integer) -> Mask:
  """Block-diagonal local attention: q // size == k // size (floor).

  Args:
    size: positions in a chunk, >= 1.

  Raises:
    ValueError: if the size is below 1.

  >>> print(chunked(2).picture(4, 4))
  █ █ · ·
  █ █ · ·
  · · █ █
  · · █ █
  """
  return _Chunked(_at_least("chunked", "size", size, 1))


def prefix(length: ArrayLike | Sequence[int]) -> Mask:
  """Every query sees the first positions: k < length.

  With `causal` it makes a prefix language model.

  Args:
    length: int, or one a batch row (``*B``).

  >>> from attnjax import masks
  >>> print((masks.causal() | masks.prefix(2)).picture(3, 3))
  █ █ ·
  █ █ ·
  █ █ █

  Reference:
    Raffel et al., "Exploring the Limits of Transfer Learning with a Unified
    Text-to-Text Transformer", 2019, arXiv 1910.10683, figure 4.
  """
  return _Prefix(integer_array("prefix", "length", length))


def query_prefix(length: ArrayLike | Sequence[int]) -> Mask:
  """The first queries see every key: q < length.

  With `prefix`, global tokens that see all and are seen by all.

  Args:
    length: int, or one a batch row (``*B``).

  >>> from attnjax import masks
  >>> world = masks.prefix(1) | masks.query_prefix(1)
  >>> print((masks.sliding_window(1, 1) | world).picture(5, 5))
  █ █ █ █ █
  █ █ █ · ·
  █ █ █ █ ·
  █ · █ █ █
  █ · · █ █

  Reference:
    Beltagy, Peters, Cohan, "Longformer: The Long-Document Transformer", 2020,
    arXiv 2004.05150, section 3.1, global attention.
  """
  return _Prefix(integer_array("query_prefix", "length", length), True)


def _at_least(rule: str, name: str, value, least: int) -> int:
  """Checks a static hyper-parameter, and returns it as a Python int."""
  is_integer = isinstance(value, Integer) and not isinstance(value, bool)
  if not is_integer or not least <= value <= _MOST:
    raise ValueError(
      f"{rule}: {name} must be a Python int >= {least} and <= 2**30, got"
      f" {value!r}"
    )
  return int(value)


@pytree_dataclass
class _Full(Mask):
  """The mask of `full`."""

  def __repr__(self):
    return "full()"

  def __call__(self, b, h, q, k):
    shape = jnp.broadcast_shapes(*map(jnp.shape, (b, h, q, k)))
    return jnp.ones(shape, bool)

  def decide(self, area):
    return True, True


@pytree_dataclass
class _Window(Mask):
  """A band k - q in [-left, right]; left None is unbounded."""

  left: int | None = static()
  right: int = static()

  def __repr__(self):
    if self.left is None:
      return "causal()"
    return format_call(
      "sliding_window", left=self.left, right=self.right or None
    )

  def __call__(self, b, h, q, k):
    q, k = place(q), place(k)
    seen = k <= moved(q, self.right)
    return seen if self.left is None else seen & (k >= moved(q, -self.left))

  def decide(self, area):
    # The corners of the tile nearest to the band, and farthest from it.
    # `moved` saturates: a bound past int32 is one that no key reaches.
    (q0, q1), (k0, k1) = area.query, area.key
    some = k0 <= moved(q1, self.right)
    every = k1 <= moved(q0, self.right)
    if self.left is None:
      return some, every
    some = some & (k1 >= moved(q0, -self.left))
    return some, every & (k0 >= moved(q1, -self.left))


@pytree_dataclass
class _Dilated(Mask):
  """The mask of `dilated`."""

  stride: int = static()

  def __repr__(self):
    return format_call("dilated", self.stride)

  def __call__(self, b, h, q, k):
    # Not (q - k) % stride: the difference may overflow int32.
    return place(q) % self.stride == place(k) % self.stride

  def decide(self, area):
    (q0, q1), (k0, k1) = area.query, area.key
    if self.stride == 1:
      return True, True

    # Differences q - k start at q0 - k1; the distance from there to the next
    # multiple of the stride:
    next_one = (k1 % self.stride - q0 % self.stride) % self.stride
    # The number of differences after the first; beyond stride - 1 it decides
    # nothing, so `_width` stops there and stays within int32.
    room = self._width(q0, q1) + self._width(k0, k1)
    one_pair = (q0 == q1) & (k0 == k1)
    return next_one <= room, one_pair & (next_one == 0)

  def _width(self, first, last):
    """min(last - first, stride - 1), without a difference past int32."""
    at = moved(first, self.stride - 1)
    if isinstance(first, int) and isinstance(last, int):
      return min(at, last) - first
    return numpy_or_jax(first, last).minimum(at, last) - first


@pytree_dataclass
class _Chunked(Mask):
  """The mask of `chunked`."""

  size: int = static()

  def __repr__(self):
    return format_call("chunked", self.size)

  def __call__(self, b, h, q, k):
    # `//` floors, so that negative positions are in chunks of the same size.
    return place(q) // self.size == place(k) // self.size

  def decide(self, area):
    # A tile spans a range of chunks on either side: it is seen in part where
    # the ranges meet, and whole where both are the same single chunk.
    (q0, q1), (k0, k1) = area.query, area.key
    first_q, last_q = q0 // self.size, q1 // self.size
    first_k, last_k = k0 // self.size, k1 // self.size
    some = (first_q <= last_k) & (first_k <= last_q)
    every = (first_q == last_q) & (first_k == last_k) & (first_q == first_k)
    return some, every


@pytree_dataclass
class _Prefix(Mask):
  """The mask of `prefix`, and of `query_prefix`."""

  length: Any
  of_queries: bool = static(default=False)

  def __repr__(self):
    return format_call(self._name, self.length)

  @property
  def _name(self):
    return "query_prefix" if self.of_queries else "prefix"

  def __call__(self, b, h, q, k):
    first, other = (q, k) if self.of_queries else (k, q)
    seen = place(first) < batch_row(self.length, b, 0)
    # The other decides nothing, but the result has its axis.
    return seen & jnp.ones(jnp.shape(other), bool)

  def decide(self, area):
    bounds = area.query if self.of_queries else area.key
    return some_every_below(self.length, bounds, area.batch)

  def validate(self, batch, heads):
    check_rows(f"{self._name} length", self.length, batch, 0)


__getattr__ = forward_names(__name__)
