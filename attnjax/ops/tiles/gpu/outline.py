"""What is known of a kernel of a GPU before its text."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from attnjax.ops.tiles.flat_programs import FlatProgram
from attnjax.ops.tiles.gpu.groups import Group
from attnjax.ops.tiles.gpu.terms import Axes
from attnjax.ops.tiles.kernel_arrays import GivenArray

__all__ = ["Outline", "dtype_of_sum"]


class Outline(NamedTuple):
  """What is known of a kernel before its text.

  Args:
    group: the sums, and the loops.
    counts: how many blocks there are along each letter.
    axes: of a tile.
    heads: query heads that share a key head.
    operands: arrays that are read.
    narrowed: of them, which are given in the narrow dtype.
    sums: arrays that are written, those of the group.
    values: what these begin with.
    programs: of a tile, by code, with the results of the group alone.
    adds: whether the results are added.
    narrow: dtype of factors of products of default precision, or None.
    listed: whether tables list the blocks of a loop, which are no range.
    rows: whether each row of the batch has tables of its own.
  """

  group: Group
  counts: dict[str, int]
  axes: Axes
  heads: int
  operands: Sequence[GivenArray]
  narrowed: Sequence[bool]
  sums: Sequence[GivenArray]
  values: Sequence[Any]
  programs: dict[int, FlatProgram]
  adds: bool
  narrow: Any
  listed: bool
  rows: bool

  @property
  def grid(self) -> list[int]:
    """How many programs there are along each letter that one has a part of."""
    own, inner, crew = self.group.own, self.group.inner, self.group.crew
    shared = [crew] if crew else [self.counts[a] for a in inner]
    return [*(self.counts[a] for a in own), *shared]

  @property
  def programs_of_grid(self) -> int:
    """How many programs the kernel has."""
    return math.prod(self.grid)

  def shares(self, k: int) -> int:
    """How many numbers a program writes of a sum of single numbers."""
    count = self.sums[k].whole or 1
    return count if self.group.crew else 1 << (count - 1).bit_length()


def dtype_of_sum(x: GivenArray):
  """The dtype in which a kernel has a sum.

  >>> from attnjax.ops.tiles.kernel_arrays import GivenArray
  >>> dtype_of_sum(GivenArray.of((), "bfloat16", ""))
  dtype('float32')
  """
  wide = not x.inner and x.dtype.itemsize < 4
  return jnp.dtype(jnp.float32) if wide else x.dtype
