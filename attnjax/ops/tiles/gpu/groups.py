"""Which sums one kernel of a GPU computes, and the order of its loops.

A program of a GPU has no part of its sums in common with another: it owns one
block of each, and loops over all that is added to it. Sums of other axes are of
another kernel, so that the gradients of queries, and those of keys and values,
are two.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from attnjax.ops.tiles.flat_programs import CannotLower
from attnjax.ops.tiles.kernel_arrays import GivenArray, by_head

__all__ = ["Group", "grouped"]


class Group(NamedTuple):
  """Sums that one kernel computes.

  Args:
    places: of them among all sums.
    inner: which of "t" and "s" a program has one block of.
    own: letters of the other axes of the grid that it has one entry of,
      outermost first.
    over: letters that it loops over.
    scalars: of the places, those of single numbers: each program writes its
      share, and the shares are summed outside.
    crew: how many programs share all blocks of the inner letter among them, of
      sums that are in memory; 0 where each has one block.
  """

  places: tuple[int, ...]
  inner: str
  own: str
  over: str
  scalars: tuple[int, ...]
  crew: int = 0


# A sum of more single numbers than that is in memory.
_MANY = 1024
# Programs of such a sum: a few a multiprocessor; each has a sum of its own, and
# together they take so many bytes at most.
_PROGRAMS, _BYTES = 512, 2**28


def grouped(
  sums: Sequence[GivenArray], counts: dict[str, int], adds: bool
) -> list[Group]:
  """The groups of some sums.

  Args:
    sums: as kernels have them.
    counts: how many blocks there are along each letter.
    adds: whether they are sums, and no state that tiles replace.

  Raises:
    CannotLower: if a state has not all axes of the grid but the keys'.

  >>> from attnjax.ops.tiles.kernel_arrays import GivenArray
  >>> counts = {"b": 2, "k": 2, "g": 3, "t": 4, "s": 4}
  >>> shapes = ((2, 6, 64, 8), "bht."), ((2, 2, 64, 8), "bks."), ((), "")
  >>> sums = [GivenArray.of(x, "float32", axes) for x, axes in shapes]
  >>> for group in grouped(sums, counts, True):
  ...   print(group.places, group.inner, group.own, "loops over", group.over)
  (0, 2) t bkg loops over
  (1,) s bk loops over g
  """
  letters = (*sorted(a for a in counts if a.isdigit()), *"bkg")
  every = "".join(a for a in letters if counts[a] > 1)
  found: dict[tuple[str, str], list[int]] = {}
  scalars, in_memory = [], []
  for k, x in enumerate(sums):
    axes = by_head(x.axes)
    inner = "".join(a for a in "ts" if a in x.names)
    if not inner:
      scalars.append(k)
      if (x.whole or 1) > _MANY:
        in_memory.append(_in_memory(k, x, every, counts))
      else:
        found.setdefault(("t", every), []).append(k)
      continue
    own = "".join(a for a in every if a in axes)
    found.setdefault((inner, own), []).append(k)

  if not adds and (scalars or set(found) - {("t", every)}):
    raise CannotLower(
      "a state that tiles replace, and that has not the axes of all queries"
    )
  return [
    Group(
      tuple(places),
      inner,
      own,
      "".join(a for a in every if a not in own),
      tuple(k for k in places if k in scalars),
    )
    for (inner, own), places in found.items()
  ] + in_memory


def _in_memory(
  k: int, x: GivenArray, every: str, counts: dict[str, int]
) -> Group:
  """The group of a sum of many single numbers.

  Where a sum for each program takes too much, programs loop over batch rows and
  heads too.
  """
  own, over = every, ""
  bytes_of = lambda own: (
    math.prod(counts[a] for a in own) * (x.whole or 1) * x.dtype.itemsize
  )
  free = [a for a in every if a not in by_head(x.axes)]
  while bytes_of(own) > _BYTES and free:
    over += free[0]
    own = own.replace(free.pop(0), "")
  most = (
    _BYTES // bytes_of(own),
    _PROGRAMS // max(bytes_of(own) // bytes_of(""), 1),
  )
  crew = max(min(*most, counts["t"]), 1)
  return Group((k,), "t", own, over, (k,), crew)
