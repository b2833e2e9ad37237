"""Which implementation computes a call, and why not another."""

from typing import Protocol, runtime_checkable

import jax

from attnjax.ops.attention.arguments import Aux, Call
from attnjax.ops.attention.blockwise import Blockwise
from attnjax.ops.attention.fused import Fused
from attnjax.ops.attention.fused_shards import is_by_device
from attnjax.ops.attention.reference import Reference
from attnjax.ops.target import target_platform
from attnjax.typing import Array

__all__ = ["IMPLEMENTATIONS", "Implementation", "choose", "named", "ranked"]

_KERNELS_FIRST = ("tpu",)  # platforms


@runtime_checkable
class Implementation(Protocol):
  """How attention is computed: never what it means."""

  def refuses(self, call: Call) -> str | None:
    """Why it cannot honour a call, forward and backward; None if it can."""

  def describes(self, call: Call) -> str:
    """How it would compute a call that it does not refuse."""

  def __call__(self, call: Call) -> tuple[Array, Aux]:
    """The output ``B T H E`` and what else was asked for."""


# By name; see `ranked` for the order in which None tries them.
IMPLEMENTATIONS: dict[str, Implementation] = {
  "blockwise": Blockwise(),
  "fused": Fused(),
  "reference": Reference(),
}


def ranked(call: Call) -> dict[str, Implementation]:
  """The implementations by name, in the order in which None tries them.

  The kernels of "fused" are first in programs for a TPU that are of one device,
  those within `jax.shard_map` among them, and on meshes whose axes are all
  explicit: there types say what each device computes. Elsewhere "blockwise" is,
  which honours all that they do: the compiler may divide its arrays over
  devices, which it cannot do with those of a kernel, and does not tell
  beforehand.
  """
  platform = target_platform(*jax.tree.leaves(call))
  names = list(IMPLEMENTATIONS)
  if platform in _KERNELS_FIRST and is_by_device(call):
    names = ["fused", *(name for name in names if name != "fused")]
  return {name: IMPLEMENTATIONS[name] for name in names}


def choose(call: Call, asked: str | Implementation | None) -> Implementation:
  """The implementation asked for, or the best that honours the whole call."""
  if asked is None:
    return _best(call)
  name, chosen = named(asked)
  reason = chosen.refuses(call)
  if reason is not None:
    able = [n for n, i in IMPLEMENTATIONS.items() if i.refuses(call) is None]
    raise NotImplementedError(
      f"attend: implementation {name!r} cannot: {reason}; of all there are,"
      f" {able or 'none'} can"
    )
  return chosen


def named(asked: str | Implementation) -> tuple[str, Implementation]:
  """An implementation that is asked for, and its name."""
  name = asked if isinstance(asked, str) else type(asked).__name__
  found = IMPLEMENTATIONS.get(asked) if isinstance(asked, str) else asked
  if found is None or not hasattr(found, "refuses"):
    raise ValueError(
      f"attend: implementation {name!r} is unknown; there are"
      f" {sorted(IMPLEMENTATIONS)}, or None for the best of them"
    )
  return name, found


def _best(call: Call) -> Implementation:
  """The first that refuses nothing; an ExceptionGroup if each refuses."""
  reasons = []
  for name, implementation in ranked(call).items():
    reason = implementation.refuses(call)
    if reason is None:
      return implementation
    reasons.append(NotImplementedError(f"{name}: {reason}"))
  raise ExceptionGroup("attend: no implementation honours this call", reasons)
