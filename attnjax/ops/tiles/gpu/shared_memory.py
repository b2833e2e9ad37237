"""How much of a GPU's shared memory a kernel takes, before it is compiled."""

import math
from collections.abc import Sequence

import jax.numpy as jnp

from attnjax.ops.tiles.gpu.compiled import Chosen, Machine
from attnjax.ops.tiles.gpu.outline import Outline
from attnjax.ops.tiles.vmem import TooLarge

__all__ = ["check_shared"]


def check_shared(
  outline: Outline, used: Sequence[int], machine: Machine, chosen: Chosen
) -> None:
  """Refuses a kernel whose tiles do not fit.

  What a loop brings is there as often as it has stages; from 9.0 on the matrix
  unit reads what stays from there too. It is the least that a compiler takes,
  who is asked for the rest: see `attnjax.ops.tiles.gpu.compiled`.

  Raises:
    TooLarge: with the numbers.
  """
  said, total = [], 0
  for k in used:
    x = outline.operands[k]
    if len(x.names) != 2:
      continue
    dtype = jnp.dtype(outline.narrow if outline.narrowed[k] else x.dtype)
    shape = [outline.axes.long(name) for name in x.names]
    loops = set(x.names) & set("ts") - set(outline.group.inner)
    times = chosen.stages if loops else int(machine.capability >= 90)
    size = times * math.prod(shape) * dtype.itemsize
    said.append((size, f"operand {shape} {dtype} {times} times"))
    total += size

  if total > machine.shared:
    parts = ", ".join(
      f"{name} {size / 2**10:.0f}" for size, name in sorted(said)[:-4:-1]
    )
    raise TooLarge(
      f"the tiles of a kernel take {total / 2**10:.0f} KiB of shared memory or"
      f" more, of {machine.shared / 2**10:.0f} that it may take (KiB: {parts});"
      " give smaller query_block= and key_block="
    )
