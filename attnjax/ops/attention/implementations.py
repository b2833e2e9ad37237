"""Which implementation computes a call, and why not another."""

from typing import Protocol, runtime_checkable

from attnjax.ops.attention.arguments import Aux, Call
from attnjax.ops.attention.blockwise import Blockwise
from attnjax.ops.attention.fused import Fused
from attnjax.ops.attention.reference import Reference
from attnjax.typing import Array

__all__ = ["IMPLEMENTATIONS", "Implementation", "choose", "named"]


@runtime_checkable
class Implementation(Protocol):
  """How attention is computed: never what it means."""

  def refuses(self, call: Call) -> str | None:
    """Why it cannot honour a call, forward and backward; None if it can."""

  def describes(self, call: Call) -> str:
    """How it would compute a call that it does not refuse."""

  def __call__(self, call: Call) -> tuple[Array, Aux]:
    """The output ``B T H E`` and what else was asked for."""


# By name, in the order in which None tries them. "fused" is after "blockwise",
# which honours all that it does: arrays that the compiler divides over devices
# among them, which no kernel can be asked about beforehand.
IMPLEMENTATIONS: dict[str, Implementation] = {
  "blockwise": Blockwise(),
  "fused": Fused(),
  "reference": Reference(),
}


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
  for name, implementation in IMPLEMENTATIONS.items():
    reason = implementation.refuses(call)
    if reason is None:
      return implementation
    reasons.append(NotImplementedError(f"{name}: {reason}"))
  raise ExceptionGroup("attend: no implementation honours this call", reasons)
