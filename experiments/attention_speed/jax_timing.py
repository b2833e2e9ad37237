"""A function of JAX, compiled ahead of time, ready to be timed."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from experiments.attention_speed.rounds import Prepared, Refused

__all__ = ["prepare_jax", "too_big"]

GIGA = 1e9


@dataclasses.dataclass(frozen=True, eq=False)
class _Timed:
  """A compiled program and its arguments."""

  compiled: Any
  arguments: tuple

  def __call__(self, calls: int) -> float:
    """Mean seconds of so many calls, each waited for."""
    start = time.perf_counter()
    for _ in range(calls):
      jax.block_until_ready(self.compiled(*self.arguments))
    return (time.perf_counter() - start) / calls


def too_big(needed: float, limit_gb: float) -> Refused | None:
  """The refusal of what needs more bytes than the limit."""
  if needed <= limit_gb * GIGA:
    return None
  return Refused(f"not run: needs {needed / GIGA:.1f} GB")


def prepare_jax(
  fn: Callable,
  arguments: tuple,
  *,
  limit_gb: float,
  witness: Callable[[Any], Sequence[Sequence[float]]],
  note: str = "",
) -> Prepared | Refused:
  """Lowers, compiles, asks XLA for the memory, and calls once.

  Args:
    fn: what to measure; its arguments are traced, all of them.
    arguments: arrays, on the device.
    limit_gb: nothing is called that needs more.
    witness: what to keep of the results.
    note: how it does what was asked.
  """
  start = time.perf_counter()
  compiled = jax.jit(fn).lower(*arguments).compile()
  seconds = time.perf_counter() - start
  memory = compiled.memory_analysis()
  temporary = None
  if memory is not None:
    temporary = int(memory.temp_size_in_bytes)
    results = int(memory.output_size_in_bytes)
    refused = too_big(temporary + results, limit_gb)
    if refused is not None:
      return refused
  out = jax.block_until_ready(compiled(*arguments))
  return Prepared(
    _Timed(compiled, arguments),
    witness(jax.tree.map(np.asarray, out)),
    compile_seconds=seconds,
    memory_bytes=temporary,
    memory_kind="" if temporary is None else "XLA's temporary buffers",
    note=note,
  )
