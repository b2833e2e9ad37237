"""How large a tile is: by its estimated cost and what a mask leaves to do.

The cost of a tile is a sum of a few terms (`TileCost`) whose factors are fitted
to measured times by ``python -m experiments.attention_speed.tile_cost``.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax.numpy as jnp

from attnjax.ops.target import cpu_threads
from attnjax.ops.tiles import Blocks, Subscripts

__all__ = [
  "TILE_COSTS",
  "Blocks",
  "TileCost",
  "choose_blocks",
  "even",
  "pad",
  "padded",
  "tile_cost",
]

_SIZES = tuple(2**n for n in range(6, 14))
# Of blocks whose estimates differ by less the one of least memory is taken.
_EQUAL = 1.005


class TileCost(NamedTuple):
  """Time of one tile, forward and backward together, in ns.

      n    = rows · heads · query · key        logits
      time = fixed + n (logit + product · D)
           + alone · n · D                     where query · key < shared
           + spill · n · log2(max(n / cache, 1))
           + edge · rows · heads · (query + key) · D

  Args:
    fixed: of any tile: branches, slices, the start of each operation.
    logit: of a logit: exp, sums and passes over memory.
    product: of a logit and a unit of width D, in the matrix products.
    alone: the same, where the product of one head is too small to be shared
      out among threads.
    spill: of a logit, for each doubling beyond what the cache holds.
    edge: of an element of the queries, keys and values that are cut out.
    cache: logits that the cache holds.
    shared: logits of one head from which on a product is shared out.
    most: logits that a tile may hold at all, for its memory.
  """

  fixed: float
  logit: float
  product: float
  alone: float
  spill: float
  edge: float
  cache: int
  shared: int
  most: int

  def __call__(self, blocks: Blocks, width: int, footprint: int = 1) -> float:
    """The time of a tile of these blocks, in ns.

    Args:
      blocks: sizes of the tile.
      width: D, of a query.
      footprint: numbers held for each logit while it is made.

    >>> from attnjax.ops.tiles import Blocks
    >>> cost = tile_cost("cpu", threads=1)
    >>> one, two = (cost(Blocks(1, heads, 256, 256), 64) for heads in (1, 2))
    >>> one < two < 2 * one  # the second head saves the fixed part
    True
    """
    rows, heads, query, key, _ = blocks
    head = query * key * footprint
    n = rows * heads * head

    time = self.fixed + n * (self.logit + self.product * width)
    if head < self.shared:
      time += self.alone * n * width
    time += self.spill * n * math.log2(max(n / self.cache, 1))
    return time + self.edge * rows * heads * (query + key) * width


# By platform and number of threads. CPU: fitted to 192 tiles each, of 1 to 8
# heads, 128 to 1024 queries and keys and D = 16, 64 and 128, on an AMD EPYC
# with AVX-512 and 1 MiB of L2 a core, jax 0.10.2. Half of the measured times
# are told to within 4 % (one thread) and 7 % (two).
TILE_COSTS = {
  ("cpu", 1): TileCost(
    fixed=6000.0,
    logit=1.50,
    product=0.189,
    alone=0.0,
    spill=1.28,
    edge=1.96,
    cache=2**19,  # 2^20 fits 1 % better, and would take twice the memory
    shared=0,
    most=2**21,
  ),
  ("cpu", 2): TileCost(
    fixed=62500.0,
    logit=1.49,
    product=0.100,
    alone=0.0672,
    spill=0.333,
    edge=0.994,
    cache=2**19,
    shared=2**17,
    most=2**21,
  ),
}
# Of an accelerator nothing was measured: a tile must be large enough to fill
# it, which costs as much as 2 M logits whatever it holds.
_ACCELERATOR = TileCost(
  fixed=float(2**21),
  logit=1.0,
  product=0.0,
  alone=0.0,
  spill=0.0,
  edge=0.0,
  cache=2**24,
  shared=0,
  most=2**24,
)


def tile_cost(platform: str, threads: int | None = None) -> TileCost:
  """The cost of tiles on a platform; of more than two threads, scaled.

  Args:
    platform: such as "cpu" or "tpu".
    threads: that a CPU's operations are shared among, >= 1; None is those of
      this process.

  >>> tile_cost("cpu", 4).logit == tile_cost("cpu", 2).logit / 2
  True
  """
  if platform != "cpu":
    return _ACCELERATOR
  if threads is None:
    threads = cpu_threads()
  if threads <= 2:
    return TILE_COSTS["cpu", max(threads, 1)]

  # Not measured: what is shared among two threads is so among more.
  two, more = TILE_COSTS["cpu", 2], threads / 2
  shared = ("logit", "product", "spill", "edge")
  faster = {name: getattr(two, name) / more for name in shared}
  return two._replace(**faster, cache=int(two.cache * more))


def choose_blocks(
  shape: tuple[int, int, int, int],
  *,
  group: int,
  width: int,
  cost: TileCost,
  footprint: int,
  live: Callable[[int, int, int], float],
  query: int | None = None,
  key: int | None = None,
  head: int | None = None,
) -> Blocks:
  """The blocks of least estimated time, among those that fit.

  Args:
    shape: ``B H T S``.
    group: query heads that share a key head.
    width: D, of a query.
    cost: of a tile.
    footprint: numbers held for each logit while it is made.
    live: of sizes of blocks of queries, keys and heads, how many blocks of
      queries and keys there are to compute, of one row of the batch and one
      block of heads.
    query: a size that is given.
    key: a size that is given.
    head: a size that is given.

  Raises:
    ValueError: if a given number of heads is not one that a tile can have.
  """
  batch, heads, length, keys = shape
  choices = list(_head_sizes(heads, group, head))
  room = cost.most // footprint
  found = []

  for t in _sizes(length, query):
    for s in _sizes(keys, key):
      for h in choices:
        count = live(t, s, h)
        # Rows of the batch share a tile only where all heads of one do.
        most = room // max(t * s * h, 1) if h == heads else 1
        for rows in sorted({1, _divisor(batch, most)}):
          blocks = Blocks(rows, h, t, s, group)
          tiles = count * (batch / rows) * (heads / max(h, 1))
          size = rows * h * t * s
          # Where none fits, the smallest.
          beyond = max(size - room, 0)
          time = tiles * cost(blocks, width, footprint)
          found.append((beyond, time, size, blocks))

  least = min(beyond for beyond, *_ in found)
  fitting = [x for x in found if x[0] == least]
  best = min(time for _, time, *_ in fitting)
  close = [x for x in fitting if x[1] <= best * _EQUAL]
  # Tiles far smaller than the cache save nothing by being smaller still.
  small = cost.cache // 4
  return min(close, key=lambda x: (max(x[2], small), x[1]))[-1]


def _head_sizes(heads: int, group: int, given: int | None) -> Iterator[int]:
  """How many query heads a tile may have: whole groups, or a part of one."""
  if heads == 0:
    yield 1 if given is None else given
    return
  if given is not None:
    given = min(given, heads)  # a device of a mesh may have fewer

  fits = lambda h: (
    heads % h == 0 and (h % group == 0 if h >= group else group % h == 0)
  )
  able = [h for h in range(1, heads + 1) if fits(h)]
  if given is None:
    yield from able
  elif given in able:
    yield given
  else:
    raise ValueError(
      f"Blockwise: head_block must be one of {able}, which cut {heads} query"
      f" heads ({group} a key head) into equal parts, got {given}"
    )


def padded(
  shape: tuple[int, int, int, int], blocks: Blocks
) -> tuple[int, int, int, int]:
  """``B H T S`` with T and S multiples of their blocks."""
  batch, heads, length, keys = shape
  up = lambda n, block: -(-n // block) * block
  return batch, heads, up(length, blocks.query), up(keys, blocks.key)


def pad(x, subscripts: Subscripts, sizes: dict[str, int]):
  """Repeats the last of an array until each axis has its padded size.

  What is repeated is hidden, but still computed with: positions and ids that do
  occur keep the bounds of a block tight, and what is finite stays so.
  """
  widths = [
    (0, sizes.get(axis, size) - size)
    for size, axis in zip(x.shape, subscripts, strict=False)
  ]
  if not any(more for _, more in widths):
    return x
  return jnp.pad(x, widths, mode="edge")


def even(length: int, most: int) -> int:
  """The block of at most so many that cuts a length into equal parts."""
  count = max(-(-length // max(most, 1)), 1)
  block = -(-length // count)
  return max(block if count == 1 else -(-block // 8) * 8, 1)


def _sizes(length: int, given: int | None) -> list[int]:
  """Blocks worth trying on an axis."""
  if given is not None:
    return [min(given, max(length, 1))]

  # Powers of two that a length does not divide are cut to equal parts, so that
  # the last block is not mostly padding.
  return sorted({even(length, size) for size in _SIZES})


def _divisor(batch: int, most: int) -> int:
  """The largest divisor of a batch that is at most so many."""
  if batch == 0:
    return 1
  return max(
    n for n in range(1, batch + 1) if batch % n == 0 and n <= max(most, 1)
  )
