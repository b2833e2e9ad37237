"""How much memory of a TPU a kernel takes, before it is compiled."""

import math
from collections.abc import Sequence

import jax.numpy as jnp

__all__ = ["TooLarge", "block_bytes", "check_smem", "check_vmem"]

# Bytes of scalar memory: 1 MiB, less what is the compiler's.
_SMEM = 960 * 2**10
_TILE = 8, 128  # sublanes and lanes, of numbers of 32 bits


class TooLarge(ValueError):
  """Blocks, or single numbers, that do not fit the memory of a chip.

  >>> issubclass(TooLarge, ValueError)
  True
  """


def check_vmem(
  limit: int,
  arrays: Sequence,
  in_specs: Sequence,
  outs: Sequence,
  out_specs: Sequence,
  scratch: Sequence,
) -> None:
  """Refuses a kernel whose blocks do not fit.

  Blocks of operands and of sums are there twice, the next being fetched, or the
  last written, meanwhile.

  Raises:
    TooLarge: with the numbers.
  """
  said, total = [], 0
  for what, xs, specs in (
    ("operand", arrays, in_specs),
    ("sum", outs, out_specs),
  ):
    for x, spec in zip(xs, specs, strict=True):
      if spec.block_shape is not None:
        size = 2 * block_bytes(spec.block_shape, x.dtype)
        said.append((size, f"{what} {list(spec.block_shape)} {x.dtype}"))
        total += size
  for x in scratch:
    total += block_bytes(x.shape, x.dtype)

  if total > limit:
    largest = sorted(said, reverse=True)[:3]
    parts = ", ".join(f"{name} {size / 2**20:.1f}" for size, name in largest)
    raise TooLarge(
      f"the blocks of a kernel take {total / 2**20:.1f} MiB of VMEM, of"
      f" {limit / 2**20:.0f} that it may take (MiB, twice each: {parts}); give"
      " smaller query_block= and key_block="
    )


def check_smem(arrays: Sequence, tables: Sequence) -> None:
  """Refuses a kernel whose single numbers do not fit.

  Args:
    arrays: shape and dtype of each that lies in SMEM, whole.
    tables: that are fetched to it before the kernel starts.

  Raises:
    TooLarge: with the numbers.
  """
  sizes = [4 * math.prod(x.shape) for x in (*tables, *arrays)]
  if sum(sizes) > _SMEM:
    raise TooLarge(
      f"the single numbers of a kernel take {sum(sizes) / 2**20:.1f} MiB of"
      f" SMEM, of {_SMEM / 2**20:.1f} that they may take: tables of visits"
      f" {sum(sizes[: len(tables)]) / 2**20:.1f}, captured arrays and their"
      f" gradients {sum(sizes[len(tables) :]) / 2**20:.1f}"
    )


def block_bytes(shape: Sequence[int], dtype) -> int:
  """Bytes of a block in VMEM, whose last axes are padded to whole registers.

  >>> block_bytes((1, 1, 8, 64), "float32")
  4096
  """
  *rest, sub, lane = shape
  size = jnp.dtype(dtype).itemsize
  rows = _TILE[0] * max(4 // size, 1)
  up = lambda n, by: -(-n // by) * by
  return math.prod(rest) * up(sub, rows) * up(lane, _TILE[1]) * size
