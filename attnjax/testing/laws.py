"""Laws that compare values and derivatives with the oracles.

Under every transform: jit, vmap, scan, checkpoint, export, pmap and sharding
over devices.
"""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Literal

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from attnjax.testing.derivatives import (
  directions,
  forward,
  grad_of_grad,
  grad_of_jvp,
  jvp_of_grad,
  linearized,
  reverse,
)
from attnjax.testing.error_budget import (
  Expected,
  compare,
  compare_arrays,
  expected,
  expected_of,
  oracle_values,
)
from attnjax.testing.hidden_keys import check_dtypes, check_structure
from attnjax.testing.problem import Problem
from attnjax.testing.runner import (
  How,
  arrays,
  called,
  compiled,
  found,
  host,
  precise,
)

__all__ = [
  "Agrees",
  "Mapped",
  "Sharded",
  "checkpointed",
  "conforms",
  "conforms_optimized",
  "deterministic",
  "exported",
  "linearizes",
  "pmapped",
  "pushes",
  "scanned",
  "second_orders",
  "serialized",
]


_SLICES = 3  # of a mapped argument


@dataclasses.dataclass(frozen=True)
class Agrees:
  """A transform of the attention equals a transform of the dense oracle.

  Args:
    transform: of the attention, such as `checkpointed`.
    of_oracle: the transform of `derivatives` with the same results.
    how: the attention is compiled, see `runner.found`.
  """

  transform: Callable
  of_oracle: Callable
  how: How = "hurry"

  def __call__(self, attend: Callable, problem: Problem) -> None:
    """Raises AssertionError where they differ."""
    got = found(attend, problem, self.transform, self.how)
    compare(got, expected(problem, self.of_oracle))
    check_structure(problem, got)


def conforms(attend: Callable, problem: Problem) -> None:
  """Values, gradients, exact zeros and dtypes are those of the oracles."""
  _conforms(attend, problem, "hurry")


def conforms_optimized(attend: Callable, problem: Problem) -> None:
  """`conforms`, with the optimizations that a user's program has."""
  _conforms(attend, problem, "user")


def _conforms(attend: Callable, problem: Problem, how: How) -> None:
  """Checks one call, forward and in reverse mode."""
  got = found(attend, problem, reverse, how)
  check_dtypes(problem, got["value"])

  wanted = expected(problem, reverse)
  # Values are held to both oracles, dense JAX and numpy.
  for name, truth in oracle_values(problem).items():
    own = wanted.own["value"][name]
    compare_arrays(name, got["value"][name], truth, own, wanted.ratio)

  compare(got, wanted)
  check_structure(problem, got)


def checkpointed(f, x):
  """`reverse` through `jax.checkpoint`, which recomputes all residuals."""
  return reverse(jax.checkpoint(f), x)


def scanned(f, x):
  """`reverse` of the last of two steps of a scan."""

  def last(x):
    # Two different steps, so that the results of the first would not agree.
    twice = jax.tree.map(lambda y: jnp.stack([y / 2, y]), x)
    _, found = jax.lax.scan(lambda c, y: (c, f(y)), None, twice)
    return jax.tree.map(lambda y: y[1], found)

  return reverse(last, x)


def exported(f, x):
  """`reverse`, exported by `jax.export` and called."""
  return _exported(f, x, lambda program: program)


def serialized(f, x):
  """`reverse`, exported, serialized to bytes, read back and called."""
  read_back = lambda program: jax.export.deserialize(program.serialize())
  return _exported(f, x, read_back)


def _exported(f, x, through: Callable):
  """`reverse` by `jax.export`, called after `through` of its program."""
  compiled = jax.jit(lambda y: jax.tree.leaves(reverse(f, y)))
  program = through(jax.export.export(compiled)(x))
  tree = jax.tree.structure(jax.eval_shape(lambda y: reverse(f, y), x))
  return jax.tree.unflatten(tree, program.call(x))


pushes = Agrees(forward, forward)
linearizes = Agrees(linearized, forward)
# The Hessian is symmetric: one order of differentiation of the oracle is the
# truth for all three.
second_orders = {
  "jvp of grad": Agrees(jvp_of_grad, jvp_of_grad),
  "grad of jvp": Agrees(grad_of_jvp, jvp_of_grad),
  "grad of grad": Agrees(grad_of_grad, jvp_of_grad),
}


def deterministic(attend: Callable, problem: Problem) -> None:
  """Three runs on the same inputs give the same bits, gradients too."""
  with precise(problem):
    floats, ints = arrays(problem)
    function = called(attend, problem)
    # With all optimizations, which might reorder sums.
    run = jax.jit(lambda x: reverse(lambda y: function(y, ints), x))
    first, *others = [host(run(floats)) for _ in range(3)]

  for other in others:
    for a, b in zip(
      jax.tree.leaves(first), jax.tree.leaves(other), strict=True
    ):
      if not np.array_equal(a, b, equal_nan=True):
        raise AssertionError("two runs on the same inputs gave other bits")


@dataclasses.dataclass(frozen=True)
class Mapped:
  """Attention mapped over some arguments equals the stack of single calls.

  Args:
    names: of the arrays that are mapped, floats or ints; the rest is shared.
    axis: which axis of each is mapped.
    how: "vmap", "scan" or "map" over function and gradient together; or
      "grad", the gradient of the vmapped function.
  """

  names: tuple[str, ...]
  axis: int = 0
  how: Literal["vmap", "scan", "map", "grad"] = "vmap"

  def __call__(self, attend: Callable, problem: Problem) -> None:
    """Raises AssertionError where the stack differs from its slices."""
    slices = [self._slice(problem, n) for n in range(_SLICES)]
    each = [expected_of(problem, reverse, *drawn) for drawn in slices]
    pile = lambda *x: np.stack(x)
    truth = jax.tree.map(pile, *(e.truth for e in each))
    own = jax.tree.map(pile, *(e.own for e in each))

    if self.how == "grad":  # by the mapped arguments alone
      truth["gradient"], own["gradient"] = (
        {n: y for n, y in x["gradient"].items() if n in self.names}
        for x in (truth, own)
      )
    compare(self._found(attend, problem, slices), Expected(truth, own))

  def _slice(self, problem: Problem, n: int) -> tuple[dict, dict]:
    """(floats, ints) of a slice, in which mapped arrays alone are new draws."""
    other = dataclasses.replace(problem, seed=problem.seed + n)
    pick = lambda mine, drawn: {
      name: drawn[name] if name in self.names else x for name, x in mine.items()
    }
    floats = pick(problem.floats(), other.floats())
    ints = pick(problem.ints(), other.ints())
    unknown = set(self.names) - set(floats) - set(ints)
    if unknown:
      raise ValueError(f"the problem has no arrays {sorted(unknown)} to map")

    return floats, ints

  def _found(self, attend: Callable, problem: Problem, slices) -> dict:
    """Results of all slices at once, stacked on axis 0."""
    together = {**slices[0][0], **slices[0][1]}
    mapped = {
      name: jnp.stack([(f | i)[name] for f, i in slices], self._axis_of(x))
      for name, x in together.items()
      if name in self.names
    }
    shared = {
      n: jnp.asarray(x) for n, x in together.items() if n not in self.names
    }
    function = called(attend, problem)
    floats = tuple(slices[0][0])

    def value(mapped: dict) -> dict:
      both = shared | mapped
      ints = {n: x for n, x in both.items() if n not in floats}
      return function({n: both[n] for n in floats}, ints)

    def one(mapped: dict) -> dict:
      fixed = shared | mapped
      x = {n: fixed.pop(n) for n in floats}
      return reverse(lambda y: value(fixed | y), x)

    run = self._inside(value, floats) if self.how == "grad" else self._over(one)
    with precise(problem):
      return host(compiled(run)(mapped))

  def _inside(self, value: Callable, floats: tuple[str, ...]) -> Callable:
    """The gradient of the vmapped function, of a stack."""

    def run(mapped: dict) -> dict:
      ints = {n: x for n, x in mapped.items() if n not in floats}
      x = {n: y for n, y in mapped.items() if n in floats}
      axes = {n: self._axis_of(y, 1) for n, y in mapped.items()}
      every = jax.vmap(value, (axes,))
      found, pull = jax.vjp(lambda y: every(ints | y), x)
      # The cotangent of each slice must be that of the single call.
      one = directions(jax.tree.map(lambda y: y[0], found), "cotangent")
      (gradient,) = pull(jax.tree.map(lambda y: jnp.stack([y] * _SLICES), one))
      front = {n: jnp.moveaxis(y, axes[n], 0) for n, y in gradient.items()}

      return {"value": found, "gradient": front}

    return run

  def _over(self, one: Callable) -> Callable:
    """A function of one slice, mapped over a stack."""
    if self.how == "vmap":
      axes = lambda x: {n: self._axis_of(y, 1) for n, y in x.items()}
      return lambda x: jax.vmap(one, (axes(x),))(x)
    front = lambda x: {
      n: jnp.moveaxis(y, self._axis_of(y, 1), 0) for n, y in x.items()
    }
    if self.how == "map":
      return lambda x: jax.lax.map(one, front(x))
    return lambda x: jax.lax.scan(lambda c, y: (c, one(y)), None, front(x))[1]

  def _axis_of(self, x, stacked: int = 0) -> int:
    """The mapped axis of an array; 0 if it has too few axes."""
    return self.axis if self.axis <= np.ndim(x) - stacked else 0


@dataclasses.dataclass(frozen=True)
class Sharded:
  """Attention of arrays divided over two devices equals that of one device.

  Args:
    over: "batch" or "heads".
    transform: of `derivatives`.
    axes: type of the mesh axis: "manual", inside of `jax.shard_map`;
      "explicit", where the type of an array has its sharding; "auto", where
      the compiler chooses it.
  """

  over: Literal["batch", "heads"]
  transform: Callable = reverse
  axes: Literal["manual", "explicit", "auto"] = "manual"

  def __call__(self, attend: Callable, problem: Problem) -> None:
    """Raises AssertionError where results differ from the whole."""
    with precise(problem):
      floats, ints = arrays(problem)
      function = called(attend, problem)
      if self.axes == "manual":
        function = self._mapped(function, problem, floats, ints)
      else:
        floats, ints = self._placed(problem, floats, ints)
      run = jax.jit(lambda x: self.transform(lambda y: function(y, ints), x))
      found = run(floats)

    compare(host(found), expected(problem, self.transform))
    if self.axes == "explicit":
      self._stays_divided(problem, found["value"])

  def _mapped(self, function, problem: Problem, floats, ints) -> Callable:
    """The function under `jax.shard_map`: each device computes its part."""
    # Two devices: batch 2 and 2 key heads divide by no more.
    mesh = Mesh(np.array(jax.devices()[:2]), ("devices",))
    of = lambda names: {n: self._spec(problem.axes(n), problem) for n in names}
    return jax.shard_map(
      function,
      mesh=mesh,
      in_specs=(of(floats), of(ints)),
      out_specs=self._results(problem),
    )

  def _placed(self, problem: Problem, *trees) -> list:
    """The arrays, sharded over a mesh of two devices."""
    kind = AxisType.Explicit if self.axes == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((2,), ("devices",), (kind,), devices=jax.devices()[:2])

    def place(name, x):
      spec = self._spec(problem.axes(name), problem)
      return jax.device_put(x, NamedSharding(mesh, spec))

    return [{n: place(n, x) for n, x in tree.items()} for tree in trees]

  def _stays_divided(self, problem: Problem, found: dict) -> None:
    """Raises AssertionError if a result is not sharded as the queries are."""
    for name, wanted in self._results(problem).items():
      got = jax.typeof(found[name]).sharding.spec
      # `wanted` names the axes B H T; weights have one more, S.
      if tuple(got)[: len(wanted)] != tuple(wanted):
        raise AssertionError(
          f"{name} is divided as {got}, expected {wanted}, as the queries are"
        )

  def _results(self, problem: Problem) -> dict[str, PartitionSpec]:
    """Expected sharding of each result, by name."""
    return {
      n: self._spec("B T H E" if n == "out" else "B H T", problem)
      for n in ("out", *problem.aux)
    }

  def _spec(self, axes: str, problem: Problem) -> PartitionSpec:
    """The sharding of an array with these axes."""
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
    # JAX recommends shard_map instead of pmap, but keeps it.
    warnings.simplefilter("ignore", DeprecationWarning)
    floats, ints = arrays(problem)
    function = called(attend, problem)
    together = jax.pmap(lambda x: function(x, ints))
    got = host(reverse(together, floats))
  compare(got, expected(problem, reverse))
