"""Timing of compiled JAX functions, and the rate of XLA's matrix product."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Compiled

from experiments.timing.rounds import Prepared, Refused

__all__ = ["matmul_rate", "prepare_jax"]

GIGA = 1e9


@dataclasses.dataclass(frozen=True, eq=False)
class _Timed:
  """A compiled program with its arguments."""

  compiled: Compiled
  arguments: tuple

  def __call__(self, calls: int) -> float:
    """Mean seconds of so many calls, each waited for."""
    start = time.perf_counter()
    for _ in range(calls):
      jax.block_until_ready(self.compiled(*self.arguments))
    return (time.perf_counter() - start) / calls


def prepare_jax(
  fn: Callable,
  arguments: tuple,
  *,
  limit_gb: float,
  witness: Callable[[Any], Sequence[Sequence[float]]],
  note: str = "",
) -> Prepared | Refused:
  """Compiles a function, asks XLA for its memory, and calls it once.

  Args:
    fn: what to measure; all its arguments are traced.
    arguments: arrays, on the device.
    limit_gb: what needs more for temporaries and results is not called, 10^9
      bytes.
    witness: results, as numpy arrays -> values to compare.
    note: how it does what was asked.
  """
  start = time.perf_counter()
  compiled = jax.jit(fn).lower(*arguments).compile()
  seconds = time.perf_counter() - start

  memory = compiled.memory_analysis()
  temporary = None
  if memory is not None:
    temporary = int(memory.temp_size_in_bytes)
    needed = temporary + int(memory.output_size_in_bytes)
    if needed > limit_gb * GIGA:
      return Refused(f"not run: needs {needed / GIGA:.1f} GB")

  out = jax.block_until_ready(compiled(*arguments))
  return Prepared(
    _Timed(compiled, arguments),
    witness(jax.tree.map(np.asarray, out)),
    compile_seconds=seconds,
    memory_bytes=temporary,
    memory_kind="" if temporary is None else "XLA's temporary buffers",
    note=note,
  )


def matmul_rate(size: int) -> float:
  """FLOP/s of XLA's float32 product of two squares of so many rows."""
  x = jnp.ones((size, size))
  timed = _Timed(jax.jit(jnp.matmul).lower(x, x).compile(), (x, x))
  # The best of several: it says what the machine can do.
  return 2.0 * size**3 / min(timed(1) for _ in range(8))
