"""Attention divided among devices is the attention of the whole."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Literal

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from attnjax.testing.budget import compare
from attnjax.testing.derivatives import reverse
from attnjax.testing.problem import Problem
from attnjax.testing.subject import arrays, called, host, precise
from attnjax.testing.truth import expected

__all__ = ["Sharded", "pmapped"]


@dataclasses.dataclass(frozen=True)
class Sharded:
  """Under `jax.shard_map` over two devices, forward and backward.

  Args:
    over: "batch" or "heads".
    law: of `derivatives`.
  """

  over: Literal["batch", "heads"]
  law: Callable = reverse

  def __call__(self, attend: Callable, problem: Problem) -> None:
    """Raises AssertionError where the parts are not those of the whole."""
    spec = lambda axes: self._spec(axes, len(problem.batch))
    mesh = Mesh(np.array(jax.devices()[:2]), ("devices",))
    with precise(problem):
      floats, ints = arrays(problem)
      function = jax.shard_map(
        called(attend, problem),
        mesh=mesh,
        in_specs=(
          {n: spec(problem.axes(n)) for n in floats},
          {n: spec(problem.axes(n)) for n in ints},
        ),
        out_specs={
          n: spec("B T H E" if n == "out" else "B H T")
          for n in ("out", *problem.aux)
        },
      )
      run = jax.jit(lambda x: self.law(lambda y: function(y, ints), x))
      got = host(run(floats))
    compare(got, expected(problem, self.law))

  def _spec(self, axes: str, batch: int) -> PartitionSpec:
    """The axis that is divided, wherever an array has it."""
    divided = ("B",) if self.over == "batch" else ("H", "K")
    names: list[str | None] = []
    for axis in axes.split():
      names.append("devices" if axis in divided else None)
      # Of several batch axes the first is divided.
      names.extend([None] * (batch - 1) if axis == "B" else [])
    return PartitionSpec(*names)


def pmapped(attend: Callable, problem: Problem) -> None:
  """Under `jax.pmap` over the first batch axis, gradients too."""
  with precise(problem), warnings.catch_warnings():
    # It works, and JAX would rather have shard_map.
    warnings.simplefilter("ignore", DeprecationWarning)
    floats, ints = arrays(problem)
    function = called(attend, problem)
    together = jax.pmap(lambda x: function(x, ints))
    got = host(reverse(together, floats))
  compare(got, expected(problem, reverse))
