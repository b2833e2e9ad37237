"""Attention divided among devices is the attention of the whole."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Literal

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from attnjax.testing.budget import compare
from attnjax.testing.derivatives import reverse
from attnjax.testing.problem import Problem
from attnjax.testing.subject import arrays, called, host, precise
from attnjax.testing.truth import expected

__all__ = ["Sharded", "pmapped"]


@dataclasses.dataclass(frozen=True)
class Sharded:
  """Arrays divided over two devices, forward and backward.

  Args:
    over: "batch" or "heads".
    law: of `derivatives`.
    axes: of the mesh: "manual", where `jax.shard_map` gives a device its part;
      "explicit", where types say how arrays are divided, as of `jax.make_mesh`;
      "auto", where the compiler knows.
  """

  over: Literal["batch", "heads"]
  law: Callable = reverse
  axes: Literal["manual", "explicit", "auto"] = "manual"

  def __call__(self, attend: Callable, problem: Problem) -> None:
    """Raises AssertionError where the parts are not those of the whole."""
    with precise(problem):
      floats, ints = arrays(problem)
      function = called(attend, problem)
      if self.axes == "manual":
        function = self._mapped(function, problem, floats, ints)
      else:
        floats, ints = self._placed(problem, floats, ints)
      run = jax.jit(lambda x: self.law(lambda y: function(y, ints), x))
      found = run(floats)
    compare(host(found), expected(problem, self.law))
    if self.axes == "explicit":
      self._stays_divided(problem, found["value"])

  def _mapped(self, function, problem: Problem, floats, ints) -> Callable:
    """The function, each device computing its part."""
    mesh = Mesh(np.array(jax.devices()[:2]), ("devices",))
    of = lambda names: {n: self._spec(problem.axes(n), problem) for n in names}
    return jax.shard_map(
      function,
      mesh=mesh,
      in_specs=(of(floats), of(ints)),
      out_specs=self._results(problem),
    )

  def _placed(self, problem: Problem, *trees) -> list:
    """The arrays, divided on a mesh."""
    kind = AxisType.Explicit if self.axes == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((2,), ("devices",), (kind,), devices=jax.devices()[:2])

    def place(name, x):
      spec = self._spec(problem.axes(name), problem)
      return jax.device_put(x, NamedSharding(mesh, spec))

    return [{n: place(n, x) for n, x in tree.items()} for tree in trees]

  def _stays_divided(self, problem: Problem, found: dict) -> None:
    """Raises AssertionError where a result is not divided as it should be."""
    for name, wanted in self._results(problem).items():
      got = jax.typeof(found[name]).sharding.spec
      if tuple(got)[: len(wanted)] != tuple(wanted):
        raise AssertionError(
          f"{name} is divided as {got}, expected {wanted}, as the queries are"
        )

  def _results(self, problem: Problem) -> dict[str, PartitionSpec]:
    """How the results are divided, by name."""
    return {
      n: self._spec("B T H E" if n == "out" else "B H T", problem)
      for n in ("out", *problem.aux)
    }

  def _spec(self, axes: str, problem: Problem) -> PartitionSpec:
    """The axis that is divided, wherever an array has it."""
    batch = len(problem.batch)
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
