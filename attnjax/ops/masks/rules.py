"""Masks that are a rule of positions: nothing captured but hyper-parameters."""

import jax.numpy as jnp

from attnjax.ops.masks.algebra import Mask
from attnjax.ops.node import node, static

__all__ = ["causal", "chunked", "dilated", "full", "sliding_window"]

_MOST = 2**30  # so that a position and a hyper-parameter add up in int32


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


def sliding_window(left: int, right: int = 0) -> Mask:
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
  _at_least("sliding_window", "left", left, 0)
  _at_least("sliding_window", "right", right, 0)
  return _Window(left, right)


def dilated(stride: int) -> Mask:
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
  _at_least("dilated", "stride", stride, 1)
  return _Dilated(stride)


def chunked(size: int) -> Mask:
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
  _at_least("chunked", "size", size, 1)
  return _Chunked(size)


def _at_least(rule: str, name: str, value, least: int) -> None:
  """Checks a hyper-parameter, which is a Python int."""
  whole = isinstance(value, int) and not isinstance(value, bool)
  if not whole or not least <= value <= _MOST:
    raise ValueError(
      f"{rule}: {name} must be a Python int >= {least} and <= 2**30, got"
      f" {value!r}"
    )


@node
class _Full(Mask):
  def __call__(self, b, h, q, k):
    shape = jnp.broadcast_shapes(*map(jnp.shape, (b, h, q, k)))
    return jnp.ones(shape, bool)

  def decide(self, area):
    return True, True


@node
class _Window(Mask):
  """One rule for `causal` and `sliding_window`; None is without bound."""

  left: int | None = static()
  right: int = static()

  def __call__(self, b, h, q, k):
    seen = k <= q + self.right
    return seen if self.left is None else seen & (k >= q - self.left)

  def decide(self, area):
    (q0, q1), (k0, k1) = area.query, area.key
    some = (q1 > q0) & (k1 > k0) & (k0 <= q1 - 1 + self.right)
    every = k1 - 1 <= q0 + self.right
    if self.left is None:
      return some, every
    some = some & (k1 - 1 >= q0 - self.left)
    return some, every & (k0 >= q1 - 1 - self.left)


@node
class _Dilated(Mask):
  stride: int = static()

  def __call__(self, b, h, q, k):
    return (q - k) % self.stride == 0

  def decide(self, area):
    (q0, q1), (k0, k1) = area.query, area.key
    low, high = q0 - (k1 - 1), q1 - 1 - k0  # the range of q - k
    nearest = (high // self.stride) * self.stride
    some = (q1 > q0) & (k1 > k0) & (nearest >= low)
    if self.stride == 1:
      return some, True
    return some, (low == high) & (low % self.stride == 0)


@node
class _Chunked(Mask):
  size: int = static()

  def __call__(self, b, h, q, k):
    return q // self.size == k // self.size

  def decide(self, area):
    (q0, q1), (k0, k1) = area.query, area.key
    first_q, last_q = q0 // self.size, (q1 - 1) // self.size
    first_k, last_k = k0 // self.size, (k1 - 1) // self.size
    some = (q1 > q0) & (k1 > k0) & (first_q <= last_k) & (first_k <= last_q)
    every = (first_q == last_q) & (first_k == last_k) & (first_q == first_k)
    return some, every
