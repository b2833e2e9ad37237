"""How large the tiles of a kernel are, by chip and width."""

import math
from typing import NamedTuple

from attnjax.ops.target import target_device

__all__ = ["CHIPS", "Chip", "KernelBlocks", "chip_of", "kernel_blocks"]

_MIB = 2**20


class Chip(NamedTuple):
  """What of a TPU decides the blocks of a kernel.

  Args:
    name: as it is called in topologies, such as "v5e".
    vmem: bytes of vector memory that a kernel may take.
    block: queries and keys that a visit brings, up to a width of 128.
    tile: queries and keys that are computed at once, of these.

  >>> CHIPS["TPU v5 lite"].tile
  (512, 512)
  """

  name: str
  vmem: int
  block: tuple[int, int]
  tile: tuple[int, int]


# By the device kind that JAX tells. The memory is that of a core, less what the
# compiler keeps. Tiles: for T = 4096, D = 128, bfloat16, causal, the forward
# kernel of least static cost of six on v5e and on v6e (128 to 1024 queries, 256
# to 1024 keys); v5p and 7x are taken to be as those of the same matrix unit.
CHIPS = {
  "TPU v4": Chip("v4", 12 * _MIB, (512, 512), (256, 512)),
  "TPU v5 lite": Chip("v5e", 100 * _MIB, (1024, 1024), (512, 512)),
  "TPU v5": Chip("v5p", 56 * _MIB, (1024, 1024), (512, 512)),
  "TPU v6 lite": Chip("v6e", 100 * _MIB, (1024, 1024), (512, 1024)),
  "TPU7x": Chip("tpu7x", 56 * _MIB, (1024, 1024), (512, 1024)),
}
_UNKNOWN = Chip("an unknown TPU", 12 * _MIB, (512, 512), (256, 512))


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
) -> KernelBlocks:
  """The blocks of a kernel.

  Args:
    lengths: T and S.
    width: the larger of D and E.
    chip: that the kernel is for.
    query: queries of a visit, where they are given.
    key: keys of a visit, where they are given.

  >>> kernel_blocks((4096, 200), 128, CHIPS["TPU v5 lite"])
  KernelBlocks(tile=(512, 256), macro=(2, 1))
  >>> kernel_blocks((4096, 4096), 600, CHIPS["TPU v5 lite"]).visit
  (128, 128)
  """
  tiles, macro = [], []
  for length, given, most, tile in zip(
    lengths, (query, key), chip.block, chip.tile, strict=True
  ):
    if given is None:
      # A wide head takes the memory of more queries and keys. Blocks are of
      # 128, as many as registers have lanes.
      most = max(most // max(-(-width // 128), 1) // 128, 1) * 128
      given = min(most, -(-max(length, 1) // 128) * 128)
    size = given if given <= tile else math.gcd(given, tile)
    tiles.append(size)
    macro.append(given // size)
  return KernelBlocks((tiles[0], tiles[1]), (macro[0], macro[1]))
