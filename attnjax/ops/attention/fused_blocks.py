"""How large the tiles of a kernel are, by chip and width."""

import math
from typing import NamedTuple

from attnjax.ops.target import target_device

__all__ = [
  "CHIPS",
  "Chip",
  "KernelBlocks",
  "chip_of",
  "kernel_blocks",
  "macro_of_sums",
]

_MIB = 2**20


class Chip(NamedTuple):
  """What of a TPU decides the blocks of a kernel.

  Args:
    name: as it is called in topologies, such as "v5e".
    vmem: bytes of vector memory that a kernel may take.
    block: queries and keys that a visit brings, up to a width of 128.
    tile: queries and keys that are computed at once, of these.
    wide: the same where few kinds of visits are known while tracing: the
      tiles of a visit are one program then, and of more tiles it is a better
      one.
    whole: the same where nothing is hidden from any query.
    sums: at most so many a visit of a sum, such as a gradient, whose program is
      larger: beyond 40,000 operations it does not fit the chip.
    joins: whether full tiles of a visit are computed with all of its keys at
      once.

  >>> CHIPS["TPU v5 lite"].tile
  (512, 512)
  """

  name: str
  vmem: int
  block: tuple[int, int]
  tile: tuple[int, int]
  wide: tuple[int, int]
  whole: tuple[int, int]
  sums: tuple[int, int]
  joins: bool = True


# By the device kind that JAX tells. The memory is that of a core, less what the
# compiler keeps. Blocks and tiles: for T = 4096, D = 128, bfloat16, causal, of
# least static cost of nine on v5e and of eleven on v6e; v5p and 7x are taken to
# be as those of the same matrix unit.
_LARGE, _HUGE = (2048, 2048), (4096, 2048)
_SMALL = (512, 512), (256, 512), (512, 512), (512, 512), (512, 512)
_NARROW = (1024, 1024), (512, 512), _LARGE, _HUGE, (1024, 1024)  # 128 x 128
_WIDE = (1024, 1024), (512, 512), _LARGE, _LARGE, (2048, 1024)  # 256 x 256
CHIPS = {
  "TPU v4": Chip("v4", 12 * _MIB, *_SMALL),
  "TPU v5 lite": Chip("v5e", 100 * _MIB, *_NARROW),
  "TPU v5": Chip("v5p", 56 * _MIB, *_NARROW),
  "TPU v6 lite": Chip("v6e", 100 * _MIB, *_WIDE),
  "TPU7x": Chip("tpu7x", 56 * _MIB, *_WIDE),
}
_UNKNOWN = Chip("an unknown TPU", 12 * _MIB, *_SMALL)


def chip_of(*arrays) -> Chip:
  """The chip that a program is traced for.

  >>> import jax.numpy as jnp
  >>> chip_of(jnp.ones(3)).name
  'an unknown TPU'
  """
  kind = target_device(*arrays)[1]
  return CHIPS.get(kind, _UNKNOWN)


class KernelBlocks(NamedTuple):
  """Queries and keys of a tile, and tiles of a visit along either axis."""

  tile: tuple[int, int]
  macro: tuple[int, int]

  @property
  def visit(self) -> tuple[int, int]:
    """Queries and keys of a visit."""
    return self.tile[0] * self.macro[0], self.tile[1] * self.macro[1]


def kernel_blocks(
  lengths: tuple[int, int],
  width: int,
  chip: Chip,
  *,
  query: int | None = None,
  key: int | None = None,
  most: tuple[int, int] | None = None,
) -> KernelBlocks:
  """The blocks of a kernel.

  Args:
    lengths: T and S.
    width: the larger of D and E.
    chip: that the kernel is for.
    query: queries of a visit, where they are given.
    key: keys of a visit, where they are given.
    most: queries and keys of a visit, at most; None is those of the chip for
      any call.

  >>> kernel_blocks((4096, 200), 128, CHIPS["TPU v5 lite"])
  KernelBlocks(tile=(512, 256), macro=(2, 1))
  >>> kernel_blocks((4096, 4096), 600, CHIPS["TPU v5 lite"]).visit
  (128, 128)
  """
  tiles, macro = [], []
  for length, given, limit, tile in zip(
    lengths,
    (query, key),
    most or chip.block,
    chip.tile,
    strict=True,
  ):
    if given is None:
      # A wide head takes the memory of more queries and keys. Blocks are of
      # 128, as many as registers have lanes.
      limit = max(limit // max(-(-width // 128), 1) // 128, 1) * 128
      # As many blocks as the largest would make, but no larger than they must.
      count = max(-(-length // limit), 1)
      unit = 128 if count == 1 else tile
      even = -(-max(length, 1) // count)
      given = min(limit, -(-even // unit) * unit)
    size = given if given <= tile else math.gcd(given, tile)
    tiles.append(size)
    macro.append(given // size)
  return KernelBlocks((tiles[0], tiles[1]), (macro[0], macro[1]))


def macro_of_sums(blocks: KernelBlocks, chip: Chip) -> tuple[int, int]:
  """Tiles of a visit of a sum, where those of a fold are of some blocks.

  >>> blocks = KernelBlocks((512, 512), (4, 4))
  >>> macro_of_sums(blocks, CHIPS["TPU v5 lite"])
  (2, 2)
  """
  found = [
    max(n for n in range(1, macro + 1) if macro % n == 0 and n * tile <= most)
    if macro * tile > most >= tile
    else macro
    for tile, macro, most in zip(*blocks, chip.sums, strict=True)
  ]
  return found[0], found[1]
