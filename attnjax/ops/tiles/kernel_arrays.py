"""How a kernel is given an array: axes of the grid first, two others last."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from attnjax.ops.tiles.flat_programs import CannotLower
from attnjax.ops.tiles.fold import WHOLE, Subscripts
from attnjax.ops.tiles.planes import LANES

__all__ = ["GivenArray", "by_head", "is_lead"]


class GivenArray(NamedTuple):
  """An array as a kernel has it.

  In VMEM an array has the axes of the grid, and two axes of which a tile has a
  part. One that has no such axis is of single numbers, and lies flat in SMEM;
  where it is looked up by position strips of 128 numbers are in VMEM.

  Args:
    lead: letters and sizes of the axes of the grid.
    inner: places and letters of the axes that a tile has a part of, at most 2.
    shape: of the array.
    dtype: of the array, as tiles have it.
    axes: subscripts.

  >>> x = GivenArray.of((2, 6, 32), "float32", "bht")
  >>> x.given, x.names
  ((2, 6, 1, 32), ('t',))
  """

  lead: tuple[tuple[str, int], ...]
  inner: tuple[tuple[int, str], ...]
  shape: tuple[int, ...]
  dtype: Any
  axes: Subscripts

  @classmethod
  def of(cls, shape, dtype, axes: Subscripts) -> "GivenArray":
    """How an array of these subscripts is given.

    Raises:
      CannotLower: if a tile has more than two axes of it.
    """
    pairs = list(enumerate(zip(axes, shape, strict=True))) if axes else []
    lead = tuple((a, n) for _, (a, n) in pairs if is_lead(a))
    inner = tuple(
      (d, a) for d, (a, n) in pairs if not is_lead(a) and a != WHOLE and n != 1
    )
    if len(inner) > 2:
      raise CannotLower(
        f"an array of which a tile has {len(inner)} axes, {list(shape)}"
      )
    return cls(lead, inner, tuple(shape), jnp.dtype(dtype), axes)

  @property
  def whole(self) -> int | None:
    """How many numbers it has where a tile is given all; None of others."""
    if self.axes and WHOLE not in self.axes:
      return None
    size = math.prod(self.shape) // math.prod(n for _, n in self.lead)
    return size if size != 1 else None

  @property
  def in_smem(self) -> bool:
    """Whether it is of single numbers, looked up one by one."""
    return not self.inner

  @property
  def names(self) -> tuple[str, ...]:
    """The names of the inner axes, as `flat_program` gives them."""
    return tuple(
      a if a in ("t", "s") else f"f{self.shape[d]}" for d, a in self.inner
    )

  @property
  def given(self) -> tuple[int, ...]:
    """The shape in which the kernel has it."""
    if self.in_smem:
      return (max(math.prod(self.shape), 1),)
    sizes = [self.shape[d] for d, _ in self.inner]
    return (*(n for _, n in self.lead), *([1] * (2 - len(sizes))), *sizes)

  @property
  def _order(self) -> list[int]:
    """The axes, those of the grid first."""
    axes = range(len(self.axes))
    return sorted(axes, key=lambda d: not is_lead(self.axes[d]))

  def give(self, x):
    """The array in that shape."""
    if self.in_smem:
      x = jnp.reshape(x, self.given)
      if x.dtype == bool:
        return x.astype(jnp.int32)
      return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
    x = jnp.transpose(x, self._order).reshape(self.given)
    return x.astype(jnp.int8) if x.dtype == bool else x

  @property
  def strips(self) -> tuple[int, ...]:
    """The shape in which numbers of it are looked up by position."""
    count = -(-(self.whole or 1) // LANES)
    return (*(n for _, n in self.lead), count, LANES)

  def give_strips(self, x):
    """The array in that shape, of numbers of 32 bits."""
    *lead, count, _ = self.strips
    x = jnp.reshape(x, (*lead, -1))
    if not jnp.issubdtype(x.dtype, jnp.floating):
      x = x.astype(jnp.int32) if x.dtype.itemsize < 4 else x
    else:
      x = x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
    more = count * LANES - x.shape[-1]
    x = jnp.pad(x, [(0, 0)] * len(lead) + [(0, more)])
    return x.reshape(self.strips)

  def taken(self, x):
    """The array in its own shape again."""
    if self.in_smem:
      return x.reshape(self.shape).astype(self.dtype)
    x = x.reshape([self.shape[d] for d in self._order])
    back = [int(d) for d in np.argsort(self._order)]
    return jnp.transpose(x, back).astype(self.dtype)


def is_lead(letter: str) -> bool:
  """Whether blocks have one entry along an axis of this letter.

  >>> [is_lead(letter) for letter in "b0t"]
  [True, True, False]
  """
  return letter in "bkgh" or letter.isdigit()


def by_head(axes: Subscripts) -> Subscripts:
  """Subscripts, query heads as key heads and the group of each.

  >>> by_head("bht.")
  'bkgt.'
  """
  return axes.replace("h", "kg")
