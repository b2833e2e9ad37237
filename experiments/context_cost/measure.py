"""Memory and time of attention at one length, dense and blockwise."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Compiled

import attnjax
from attnjax import masks
from experiments.context_cost.config import ContextCostConfig

__all__ = ["PATHS", "Cost", "costs", "slope"]

PATHS = {"dense": "reference", "engine": "blockwise"}


class Cost(NamedTuple):
  """Memory and time of one computation."""

  length: int  # T
  path: str  # of `PATHS`
  what: str  # "forward" or "gradient"
  bytes: int  # of temporaries, as XLA plans them
  seconds: list[float]  # one a round; none where it was not run


def costs(config: ContextCostConfig, length: int) -> list[Cost]:
  """Measures both paths, forward and gradient, timed in turn."""
  shape = (config.batch, length, config.heads, config.width)
  draw = lambda n: jax.random.normal(jax.random.key(n), shape)
  arrays = tuple(draw(n) for n in range(3))

  compiled = {
    (path, what): _compiled(config, name, what, arrays)
    for path, name in PATHS.items()
    for what in ("forward", "gradient")
  }
  sizes = {which: _temporary_bytes(run) for which, run in compiled.items()}
  # What is too large is planned and not run.
  runs = {
    which: run
    for which, run in compiled.items()
    if sizes[which] <= config.limit_gb * 1e9
  }

  seconds = _timed(runs, arrays, config.rounds)
  return [
    Cost(length, *which, size, seconds.get(which, []))
    for which, size in sizes.items()
  ]


def _compiled(
  config: ContextCostConfig, name: str, what: str, arrays: tuple
) -> Compiled:
  """Compiles the forward pass or the gradient, ahead of time."""

  def forward(query, key, value):
    mask = masks.causal() if config.causal else None
    return attnjax.attend(query, key, value, mask=mask, implementation=name)

  def gradient(*arrays):
    total = lambda *xs: jnp.sum(forward(*xs))
    return jax.grad(total, argnums=(0, 1, 2))(*arrays)

  function: Callable = forward if what == "forward" else gradient
  # Ahead of time: its memory is known before it is run.
  return jax.jit(function).lower(*arrays).compile()


def _temporary_bytes(compiled: Compiled) -> int:
  """Bytes of temporaries, as the compiler plans them.

  Raises:
    NotImplementedError: it reports none.
  """
  stats = compiled.memory_analysis()
  if stats is None:
    raise NotImplementedError("the compiler of this backend reports no memory")
  return stats.temp_size_in_bytes


def _timed(
  runs: dict[tuple, Compiled], arrays: tuple, rounds: int
) -> dict[tuple, list[float]]:
  """Seconds of each computation in each round; computations take turns."""
  # The first call of each is not timed: it allocates.
  for run in runs.values():
    jax.block_until_ready(run(*arrays))

  seconds: dict[tuple, list[float]] = {which: [] for which in runs}
  # In turn, so that a slow moment of the machine is not one computation's
  # alone.
  for _ in range(rounds):
    for which, run in runs.items():
      start = time.perf_counter()
      jax.block_until_ready(run(*arrays))
      seconds[which].append(time.perf_counter() - start)

  return seconds


def slope(found: list[Cost], path: str, what: str, of: str) -> float:
  """d log(cost) / d log(T), by least squares over the longer half of T.

  Args:
    found: costs, in order of length.
    path: of `PATHS`.
    what: "forward" or "gradient".
    of: "bytes" or "seconds".
  """
  points = [
    (
      cost.length,
      cost.bytes if of == "bytes" else statistics.median(cost.seconds),
    )
    for cost in found
    if (cost.path, cost.what) == (path, what)
    and (of == "bytes" or cost.seconds)
  ]

  # Short lengths are dominated by what does not grow with T.
  points = points[-max(2, (len(points) + 1) // 2) :]
  x, y = np.log(np.array(points, float)).T
  return float(np.polyfit(x, y, 1)[0])
