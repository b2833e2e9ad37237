"""Memory of one device during a step: what fills it, and whether it fits."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import jax

from attnjax.plan.hardware import GIB
from attnjax.typing import PyTree

__all__ = ["Memory", "device_bytes"]

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# What libtpu says of a program that is too large: at two stages of compiling,
# in two sentences.
_REFUSALS = (
  r"HLO temporaries \((?P<used>[\d.]+)(?P<unit>[KMGT]?)\) exceeds available HBM"
  r" \((?P<limit>[\d.]+)(?P<of>[KMGT]?)\)",
  r"Used (?P<used>[\d.]+)(?P<unit>[KMGT]?) of (?P<limit>[\d.]+)"
  r"(?P<of>[KMGT]?) hbm",
)


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes on the device that holds most.

  Args:
    parts: bytes of the step's arguments, by name: parameters, optimizer...
    padding: what layouts add to the arguments.
    gradients: size of the gradients, which are among the temporaries.
    kept: size of the residuals, the activations that the forward pass keeps
      for the backward pass, as the program is written; among the temporaries
      too, as far as the compiler does not recompute them. None: not known.
    temporaries: peak of what is made and dropped within the step.
    fresh: results that do not reuse the memory of a donated argument.
    code: the program itself.
    capacity: what programs may fill.
    exact: whether the compiler reported the sizes. If not, it refused the
      program, and the temporaries are a lower bound.

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
    """Peak memory: arguments, temporaries, results and code together."""
    given = sum(self.parts.values()) + self.padding
    return given + self.temporaries + self.fresh + self.code

  @property
  def fits(self) -> bool:
    """Whether the peak is within the capacity; False if it is not known."""
    return self.exact and self.total <= self.capacity

  def verdict(self) -> str:
    """One sentence: whether the step fits, and by how much."""
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
  """Bytes of a tree of arrays on one device, given their shardings.

  Args:
    tree: of arrays or `jax.ShapeDtypeStruct`; a leaf without a sharding is
      replicated.

  >>> import jax
  >>> device_bytes({"kernel": jax.ShapeDtypeStruct((3, 5), "bfloat16")})
  30
  """
  total = 0
  for leaf in jax.tree.leaves(tree):
    place = getattr(leaf, "sharding", None)
    shape = leaf.shape if place is None else place.shard_shape(leaf.shape)
    total += math.prod(shape) * leaf.dtype.itemsize
  return total


def memory_of_arguments(
  parts: Mapping[str, int], gradients: int, kept: int | None, capacity: int
) -> Memory:
  """The `Memory` of a step before it is compiled: its arguments alone."""
  return Memory(
    parts=dict(parts),
    padding=0,
    gradients=gradients,
    kept=kept,
    temporaries=0,
    fresh=0,
    code=0,
    capacity=capacity,
    exact=False,
  )


def memory_of_compiled(arguments: Memory, stats: Any) -> Memory:
  """Adds `compiled.memory_analysis()`, whose type JAX does not export."""
  return dataclasses.replace(
    arguments,
    padding=stats.argument_size_in_bytes - sum(arguments.parts.values()),
    temporaries=stats.temp_size_in_bytes,
    fresh=stats.output_size_in_bytes - stats.alias_size_in_bytes,
    code=stats.generated_code_size_in_bytes,
    exact=True,
  )


def memory_of_refused(arguments: Memory, error: Exception) -> Memory | None:
  """Reads the memory of a program that was refused as too large.

  Args:
    arguments: from `memory_of_arguments`.
    error: from the compiler.

  Returns:
    The memory, a lower bound; None if the error is another one.

  >>> error = RuntimeError("HLO temporaries (33.57G) exceeds available HBM"
  ...                      " (15.75G).")
  >>> arguments = memory_of_arguments({"parameters": 2**30}, 0, None, 2**34)
  >>> memory = memory_of_refused(arguments, error)
  >>> round(memory.total / 2**30, 2), round(memory.temporaries / 2**30, 2)
  (33.57, 32.57)
  >>> memory.verdict()
  'does not fit: at least 33.57 GiB, and a device has 15.75: 17.82 GiB too much'
  """
  for pattern in _REFUSALS:
    if match := re.search(pattern, str(error)):
      used = int(float(match["used"]) * _UNITS[match["unit"]])
      limit = int(float(match["limit"]) * _UNITS[match["of"]])
      # libtpu says temporaries and means the peak, arguments and results
      # included, as programs of known sizes show.
      return dataclasses.replace(
        arguments,
        temporaries=max(used - sum(arguments.parts.values()), 0),
        capacity=min(limit, arguments.capacity),
      )

  return None
