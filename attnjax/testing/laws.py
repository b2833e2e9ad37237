"""The first laws: values, derivatives, transforms that change nothing, bits."""

import dataclasses
from collections.abc import Callable

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from attnjax.testing.budget import compare, compare_arrays
from attnjax.testing.derivatives import (
  forward,
  grad_of_grad,
  grad_of_jvp,
  jvp_of_grad,
  linearized,
  reverse,
)
from attnjax.testing.problem import Problem
from attnjax.testing.structure import check_dtypes, check_structure
from attnjax.testing.subject import (
  How,
  arrays,
  called,
  found,
  host,
  precise,
)
from attnjax.testing.truth import expected, oracle_values

__all__ = [
  "Agrees",
  "checkpointed",
  "conforms",
  "conforms_optimized",
  "deterministic",
  "exported",
  "linearizes",
  "pushes",
  "scanned",
  "second_orders",
  "serialized",
]


@dataclasses.dataclass(frozen=True)
class Agrees:
  """What is asked of the attention is what is true of the dense oracle.

  Args:
    asked: of the attention, a law of `derivatives` in any disguise.
    true: the same law undisguised, of the oracle.
    how: the attention is compiled, see `attnjax.testing.subject.found`.
  """

  asked: Callable
  true: Callable
  how: How = "hurry"

  def __call__(self, attend: Callable, problem: Problem) -> None:
    """Raises AssertionError where it is not."""
    got = found(attend, problem, self.asked, self.how)
    compare(got, expected(problem, self.true))
    check_structure(problem, got)


def conforms(attend: Callable, problem: Problem) -> None:
  """Values, every gradient, exact zeros and dtypes are as they should be."""
  _conforms(attend, problem, "hurry")


def conforms_optimized(attend: Callable, problem: Problem) -> None:
  """`conforms`, compiled as a user compiles."""
  _conforms(attend, problem, "user")


def _conforms(attend: Callable, problem: Problem, how: How) -> None:
  got = found(attend, problem, reverse, how)
  check_dtypes(problem, got["value"])
  wanted = expected(problem, reverse)
  # By the slower oracle, too: dense JAX and numpy seldom err alike.
  for name, truth in oracle_values(problem).items():
    own = wanted.own["value"][name]
    compare_arrays(name, got["value"][name], truth, own, wanted.ratio)
  compare(got, wanted)
  check_structure(problem, got)


def checkpointed(f, x):
  """`reverse` through `jax.checkpoint`: everything is computed again."""
  return reverse(jax.checkpoint(f), x)


def scanned(f, x):
  """`reverse` through a scan of two steps, of which the last counts."""

  def last(x):
    twice = jax.tree.map(lambda y: jnp.stack([y / 2, y]), x)
    _, found = jax.lax.scan(lambda c, y: (c, f(y)), None, twice)
    return jax.tree.map(lambda y: y[1], found)

  return reverse(last, x)


def exported(f, x):
  """`reverse` as `jax.export` hands it to another program."""
  return _exported(f, x, lambda program: program)


def serialized(f, x):
  """`reverse` through bytes: exported, serialized, read back and called."""
  read_back = lambda program: jax.export.deserialize(program.serialize())
  return _exported(f, x, read_back)


def _exported(f, x, carry: Callable):
  """`reverse`, exported, carried somewhere and called there."""
  compiled = jax.jit(lambda y: jax.tree.leaves(reverse(f, y)))
  program = carry(jax.export.export(compiled)(x))
  tree = jax.tree.structure(jax.eval_shape(lambda y: reverse(f, y), x))
  return jax.tree.unflatten(tree, program.call(x))


pushes = Agrees(forward, forward)
linearizes = Agrees(linearized, forward)
second_orders = {
  "jvp of grad": Agrees(jvp_of_grad, jvp_of_grad),
  "grad of jvp": Agrees(grad_of_jvp, jvp_of_grad),
  "grad of grad": Agrees(grad_of_grad, jvp_of_grad),
}


def deterministic(attend: Callable, problem: Problem) -> None:
  """The same inputs give the same bits, values and gradients."""
  with precise(problem):
    floats, ints = arrays(problem)
    function = called(attend, problem)
    run = jax.jit(lambda x: reverse(lambda y: function(y, ints), x))
    first, *others = [host(run(floats)) for _ in range(3)]
  for other in others:
    for a, b in zip(
      jax.tree.leaves(first), jax.tree.leaves(other), strict=True
    ):
      if not np.array_equal(a, b, equal_nan=True):
        raise AssertionError("two runs on the same inputs gave other bits")
