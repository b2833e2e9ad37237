"""Timing and memory of PyTorch functions, inside the PyTorch process."""

import ctypes
import dataclasses
import gc
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

__all__ = ["Answer", "describe", "matmul_rate", "prepared", "refused_size"]

GIGA = 1e9
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

# What `prepare` of a module returns: the contender, or None where it is
# refused, and the fields of `Prepared` but for the call.
Answer = tuple[Callable[[int], float] | None, dict[str, Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class _Timed:
  """A function without arguments; on a CPU it returns when it is done."""

  fn: Callable[[], Any]

  def __call__(self, calls: int) -> float:
    """Mean seconds of so many calls."""
    start = time.perf_counter()
    for _ in range(calls):
      self.fn()
    return (time.perf_counter() - start) / calls


def describe(threads: int) -> dict[str, Any]:
  """Sets the number of threads; returns it and the version of PyTorch."""
  torch.set_num_threads(threads)
  return {"version": torch.__version__, "threads": torch.get_num_threads()}


def matmul_rate(size: int) -> float:
  """FLOP/s of a float32 product of squares, the best of several."""
  x = torch.ones((size, size))
  timed = _Timed(lambda: x @ x)
  timed(1)  # starts the threads
  return 2.0 * size**3 / min(timed(1) for _ in range(7))


def refused_size(needed: float, limit_gb: float) -> Answer | None:
  """The refusal of what needs more bytes than the limit; None if none does."""
  if needed <= limit_gb * GIGA:
    return None
  return None, {"refused": f"not run: needs {needed / GIGA:.1f} GB"}


def prepared(
  fn: Callable[[], tuple],
  witness: Callable[[tuple], list[list[float]]],
  *,
  compiled: bool = False,
  note: str = "",
) -> Answer:
  """Makes a function ready to be timed, as an `Answer`.

  It is called twice or thrice: the first call compiles, the second tells the
  memory, and a third, where the first compiled, the time to subtract.

  Args:
    fn: what to measure; returns a tuple of tensors.
    witness: those tensors -> values to compare.
    compiled: whether the first call compiles.
    note: how it does what was asked.
  """
  timed = _Timed(fn)
  first = timed(1)
  memory, result = _growth(fn)

  answer = {
    "witness": witness(result),
    "compile_seconds": max(0.0, first - timed(1)) if compiled else None,
    "memory_bytes": memory,
    "memory_kind": "" if memory is None else "growth of the resident set",
    "note": note,
  }
  return timed, answer


def _growth(fn: Callable[[], tuple]) -> tuple[int | None, tuple]:
  """Largest growth of the resident set in a call, less its results.

  None where the system does not tell, or does not forget an older peak.
  """
  # Memory that an earlier call freed and malloc kept would not show as growth.
  gc.collect()
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim is not None:
    trim(0)

  before = _reset_peak()
  result = fn()
  if before is None:
    return None, result
  peak = _kib("VmHWM")
  kept = sum(x.numel() * x.element_size() for x in result)
  return (None if peak is None else max(0, peak - before - kept)), result


def _reset_peak() -> int | None:
  """Resets the peak of the resident set to its size, which it returns."""
  # Linux 4.0: "5" written to clear_refs resets VmHWM.
  try:
    _CLEAR.write_text("5")
  except OSError:
    return None
  return _kib("VmRSS")


def _kib(name: str) -> int | None:
  """A line of /proc/self/status, in bytes; None if there is none."""
  try:
    found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), re.M)
  except OSError:
    return None
  return int(found[1]) * 1024 if found else None
