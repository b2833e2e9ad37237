"""The GPUs that kernels are for, and how large their tiles are, by width."""

import importlib.util
from typing import NamedTuple

import jax
import jax.numpy as jnp

from attnjax.ops.attention.fused_blocks import KernelBlocks
from attnjax.ops.target import target_device
from attnjax.ops.tiles.gpu.compiled import Chosen, Machine

__all__ = ["GPUS", "Gpu", "gpu_blocks", "gpu_of", "missing"]

_KIB = 2**10


class Gpu(NamedTuple):
  """What of a GPU decides the blocks of a kernel.

  Args:
    name: as NVIDIA calls it, a part of the device kind that JAX tells.
    capability: of computing, 90 is 9.0.
    shared: bytes of shared memory that a program may take.

  >>> GPUS["H100"].machine
  Machine(capability=90, shared=232448)
  """

  name: str
  capability: int
  shared: int

  @property
  def machine(self) -> Machine:
    """As a kernel is compiled for it."""
    return Machine(self.capability, self.shared)


# Capability and bytes by the CUDA C++ Programming Guide, table of technical
# specifications by compute capability: 1 KiB of each program is the system's.
_OF_CAPABILITY = {
  80: (163 * _KIB, ("A100", "A800", "A30")),
  86: (99 * _KIB, ("A10", "A40", "A6000", "RTX 30")),
  89: (99 * _KIB, ("L4", "L40", "RTX 40", "RTX 6000 Ada")),
  90: (227 * _KIB, ("H100", "H200", "H800", "GH200")),
  100: (227 * _KIB, ("B100", "B200", "GB200")),
}
GPUS = {
  name: Gpu(name, capability, shared)
  for capability, (shared, names) in _OF_CAPABILITY.items()
  for name in names
}


def gpu_of(*arrays) -> Gpu | None:
  """The GPU that a program is traced for, if it is one that is known.

  >>> import jax.numpy as jnp
  >>> gpu_of(jnp.ones(3)) is None
  True
  """
  kind = target_device(*arrays)[1]
  for device in jax.devices():
    capability = getattr(device, "compute_capability", None)
    if device.device_kind == kind and capability:
      known = int(capability.replace(".", ""))
      if known in _OF_CAPABILITY:
        return Gpu(kind, known, _OF_CAPABILITY[known][0])
  names = sorted(GPUS, key=len, reverse=True)
  return next((GPUS[name] for name in names if name in kind), None)


def missing(*, to_compile: bool = True) -> str | None:
  """Which library, of those that kernels of a GPU need, is not installed.

  Args:
    to_compile: whether they are compiled; else they are interpreted.
  """
  if importlib.util.find_spec("triton") is None:
    return "Triton, in which they are written"
  if not to_compile:
    return None
  from jaxlib import gpu_triton

  if not hasattr(gpu_triton, "TritonKernel"):
    return "JAX's plugin for CUDA"
  return None


class _Tile(NamedTuple):
  """Queries and keys of a tile, and how its kernels are laid."""

  block: tuple[int, int]
  fold: Chosen
  sums: Chosen


# By padded width, the larger of D and E, for operands of 16 bits. Up to 128 no
# kernel of a causal call with softcap, forward or backward, spills a register
# on 8.0, 9.0 or 10.0; with 128 queries the gradient of keys does.
_TILES = {
  64: _Tile((64, 64), Chosen(4, 3), Chosen(8, 2)),
  128: _Tile((64, 64), Chosen(4, 2), Chosen(8, 2)),
  256: _Tile((64, 32), Chosen(4, 2), Chosen(8, 1)),
}


def gpu_blocks(
  lengths: tuple[int, int],
  width: int,
  dtype,
  *,
  query: int | None = None,
  key: int | None = None,
) -> tuple[KernelBlocks, tuple[Chosen, Chosen]]:
  """The blocks of kernels for a GPU, and how a fold and a sum are laid.

  Args:
    lengths: T and S.
    width: the larger of D and E.
    dtype: of queries and keys.
    query: queries of a tile, where they are given.
    key: keys of a tile, where they are given.

  >>> gpu_blocks((4096, 4096), 80, "bfloat16")[0].tile
  (64, 64)
  """
  padded = max(1 << max(width - 1, 0).bit_length(), 64)
  if jnp.dtype(dtype).itemsize > 2:
    padded *= 2
  tile = _TILES[min(padded, max(_TILES))]
  sizes = [
    given or min(most, max(1 << max(length - 1, 0).bit_length(), 16))
    for length, most, given in zip(
      lengths, tile.block, (query, key), strict=True
    )
  ]
  # A warp group has 64 rows of a product.
  fold = tile.fold._replace(warps=8) if sizes[0] > 64 else tile.fold
  return KernelBlocks((sizes[0], sizes[1]), (1, 1)), (fold, tile.sums)
