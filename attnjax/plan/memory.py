"""What a device has to hold, and whether it can."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import jax

from attnjax.plan.hardware import GIB
from attnjax.typing import PyTree

__all__ = ["Memory", "device_bytes", "measured", "refused"]

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_REFUSALS = (
  r"HLO temporaries \((?P<used>[\d.]+)(?P<unit>[KMGT]?)\) exceeds available HBM"
  r" \((?P<limit>[\d.]+)(?P<of>[KMGT]?)\)",
  r"Used (?P<used>[\d.]+)(?P<unit>[KMGT]?) of (?P<limit>[\d.]+)"
  r"(?P<of>[KMGT]?) hbm",
)


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes on the device that has most.

  Args:
    parts: name -> bytes of what the step is given: parameters, optimizer...
    padding: what layouts add to them.
    gradients: as much as the parameters; they are among the temporaries.
    kept: activations that the forward pass keeps, as the program is written,
      before the compiler; among the temporaries too. None: not known.
    temporaries: all that lives within a step.
    fresh: results that do not take the place of what was given.
    code: the program itself.
    capacity: what a program may fill.
    exact: whether the compiler said so; if not, it refused the program, and
      the temporaries are what it would have needed at least.

  >>> memory = Memory({"parameters": 3}, 0, 3, None, 5, 0, 0, 10, True)
  >>> memory.total, memory.fits
  (8, True)
  """

  parts: Mapping[str, int]
  padding: int
  gradients: int
  kept: int | None
  temporaries: int
  fresh: int
  code: int
  capacity: int
  exact: bool

  @property
  def total(self) -> int:
    """All that has to be there at once."""
    given = sum(self.parts.values()) + self.padding
    return given + self.temporaries + self.fresh + self.code

  @property
  def fits(self) -> bool:
    """Whether it does: never where the compiler refused."""
    return self.exact and self.total <= self.capacity

  def verdict(self) -> str:
    """One sentence: fits or not, and by how much."""
    room = self.capacity - self.total
    share = 100 * self.total / self.capacity
    if self.fits:
      return (
        f"fits: {self.total / GIB:.2f} of {self.capacity / GIB:.2f} GiB"
        f" ({share:.0f} %), {room / GIB:.2f} GiB to spare"
      )
    least = "" if self.exact else "at least "
    return (
      f"does not fit: {least}{self.total / GIB:.2f} GiB, and a device has"
      f" {self.capacity / GIB:.2f}: {max(-room, 0) / GIB:.2f} GiB too much"
    )


def device_bytes(tree: PyTree) -> int:
  """Bytes of the arrays of a tree on one device, by their shardings.

  Args:
    tree: of arrays or `jax.ShapeDtypeStruct`; a leaf without a sharding is
      whole.

  >>> device_bytes({"kernel": jax.ShapeDtypeStruct((3, 5), "bfloat16")})
  30
  """
  total = 0
  for leaf in jax.tree.leaves(tree):
    place = getattr(leaf, "sharding", None)
    shape = leaf.shape if place is None else place.shard_shape(leaf.shape)
    total += math.prod(shape) * leaf.dtype.itemsize
  return total


def measured(
  stats: Any,
  parts: Mapping[str, int],
  *,
  gradients: int,
  kept: int | None,
  capacity: int,
) -> Memory:
  """The memory of a compiled program.

  Args:
    stats: from `compiled.memory_analysis()`.
    parts: name -> bytes on a device of what the step is given.
    gradients: bytes of them on a device.
    kept: bytes of activations, or None.
    capacity: of a device.
  """
  return Memory(
    parts=dict(parts),
    padding=stats.argument_size_in_bytes - sum(parts.values()),
    gradients=gradients,
    kept=kept,
    temporaries=stats.temp_size_in_bytes,
    fresh=stats.output_size_in_bytes - stats.alias_size_in_bytes,
    code=stats.generated_code_size_in_bytes,
    capacity=capacity,
    exact=True,
  )


def refused(
  error: Exception,
  parts: Mapping[str, int],
  *,
  gradients: int,
  kept: int | None,
  capacity: int,
) -> Memory | None:
  """The memory of a program that a compiler refused as too large.

  A TPU's compiler says temporaries and means all that has to be there: what the
  step is given and what it returns too, as programs of known sizes show.

  Args:
    error: what it raised; another error gives None.
    parts: as for `measured`.
    gradients: as for `measured`.
    kept: as for `measured`.
    capacity: as for `measured`.

  >>> error = RuntimeError("HLO temporaries (33.57G) exceeds available HBM"
  ...                      " (15.75G).")
  >>> memory = refused(error, {"parameters": 2**30}, gradients=0, kept=None,
  ...                  capacity=2**34)
  >>> round(memory.total / 2**30, 2), round(memory.temporaries / 2**30, 2)
  (33.57, 32.57)
  >>> memory.verdict()
  'does not fit: at least 33.57 GiB, and a device has 15.75: 17.82 GiB too much'
  """
  for pattern in _REFUSALS:
    if match := re.search(pattern, str(error)):
      used = int(float(match["used"]) * _UNITS[match["unit"]])
      limit = int(float(match["limit"]) * _UNITS[match["of"]])
      return Memory(
        parts=dict(parts),
        padding=0,
        gradients=gradients,
        kept=kept,
        temporaries=max(used - sum(parts.values()), 0),
        fresh=0,
        code=0,
        capacity=min(limit, capacity),
        exact=False,
      )
  return None
