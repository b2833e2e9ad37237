"""Masks that are any table and any function, with captured arrays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.captured import refuse_captured
from attnjax.ops.integers import place
from attnjax.ops.masks.algebra import Mask
from attnjax.ops.masks.rectangles import decided, sides
from attnjax.ops.masks.rows import check_rows
from attnjax.ops.masks.table import Table
from attnjax.ops.node import node, static
from attnjax.ops.value import written
from attnjax.typing import ArrayLike

__all__ = ["dense", "from_fn"]


def dense(array: ArrayLike) -> Mask:
  """A table of what is visible, looked up by position and not by index.

  table[q, k] says it of query position q and key position k, wherever they are
  in the arrays. An array that is aligned with the arrays of a call, such as one
  that marks padding, is no table: compose it as it is, ``causal() & array``.

  Args:
    array: bool, ``T S``, ``H T S`` or ``*B H T S``; axes of size 1 serve all.

  Raises:
    ValueError: if it is not boolean or has fewer than two axes; in `attend`,
      if it has no entry for a pair of positions which nothing else hides.
      Where that is known only at run time such rows are NaN.

  >>> import numpy as np
  >>> print(dense(np.eye(3, dtype=bool)).picture(3, 3))
  █ · ·
  · █ ·
  · · █
  """
  # numpy stays numpy: an engine may look at it while it traces.
  table = array if isinstance(array, jax.Array) else np.asarray(array)
  if table.dtype != bool or table.ndim < 2:
    raise ValueError(
      "dense: expected a boolean array 'T S', 'H T S' or '*B H T S', got"
      f" {table.dtype}{list(table.shape)}; logits to add are attend's bias="
    )
  return _Dense(table)


def from_fn(fn: Callable, *arrays) -> Mask:
  """Any rule: ``fn(b, h, q, k, *arrays) -> bool``, pointwise, broadcasting.

  A FlexAttention ``mask_mod`` ports as it is, where no positions are given: q
  and k are positions, so ``a[b, k]`` looks a up by position. Only a traced
  array must not be closed over: give it as one of `arrays`. The function is
  part of the compiled program's identity: define it once, at top level, or
  every call compiles anew.

  Args:
    fn: takes batch row, head, query and key position, then the arrays.
    *arrays: captured arrays (or pytrees of them), which may be traced.

  >>> print(from_fn(lambda b, h, q, k: q + k == 2).picture(3, 3))
  · · █
  · █ ·
  █ · ·

  Reference:
    Dong et al., "Flex Attention: A Programming Model for Generating Optimized
    Attention Kernels", 2024, arXiv 2412.05496.
  """
  refuse_captured("masks.from_fn", fn)
  return _FromFn(fn, arrays)


@node
class _Dense(Table):
  array: Any
  covers: bool = static(default=False)

  def __repr__(self):
    return written("dense", self.array)

  @property
  def extent(self):
    return sides(self.array)

  def __call__(self, b, h, q, k):
    table = jnp.asarray(self.array)
    table = table.reshape((1,) * (3 - table.ndim) + table.shape)
    table = table.reshape((-1, *table.shape[-3:]))
    q, k = place(q), place(k)
    if table.size == 0:
      shape = jnp.broadcast_shapes(*map(jnp.shape, (b, h, q, k)))
      return jnp.zeros(shape, bool)
    b, h, q_, k_ = (
      jnp.zeros_like(x) if size == 1 else x
      for x, size in zip((b, h, q, k), table.shape, strict=True)
    )
    inside = True
    for x, size in ((q, table.shape[2]), (k, table.shape[3])):
      if size != 1:
        inside = inside & (x >= 0) & (x < size)
    return table[b, h, q_, k_] & inside

  def decide(self, area):
    verdict = decided(self.array, area.query, area.key, area.batch)
    return self.of_tile(area, *verdict)

  def validate(self, batch, heads):
    check_rows("the dense table", self.array, batch, min(3, self.array.ndim))
    if self.array.ndim > 2 and self.array.shape[-3] not in (1, heads):
      raise ValueError(
        f"mask: the dense table has {self.array.shape[-3]} heads, expected"
        f" 1 or {heads} (axes '*B H T S')"
      )


@node
class _FromFn(Mask):
  fn: Callable = static()
  arrays: tuple

  def __repr__(self):
    return written("from_fn", self.fn, *self.arrays)

  def __call__(self, b, h, q, k):
    seen = self.fn(b, h, q, k, *jax.tree.map(jnp.asarray, self.arrays))
    if jnp.result_type(seen) != bool:
      raise ValueError(
        f"from_fn: the function of a mask must return booleans, got"
        f" {jnp.result_type(seen)}; one that changes logits is"
        " score_mods.from_fn"
      )
    return seen
