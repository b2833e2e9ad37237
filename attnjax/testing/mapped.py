"""Attention over a stack of arguments is the stack of attentions."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.testing.budget import compare
from attnjax.testing.compiling import compiled
from attnjax.testing.derivatives import directions, reverse
from attnjax.testing.problem import Problem
from attnjax.testing.subject import called, host, precise
from attnjax.testing.truth import Expected, expected_of

__all__ = ["Mapped"]

_SLICES = 3


@dataclasses.dataclass(frozen=True)
class Mapped:
  """`vmap` (or a loop) over some arguments, forward and backward.

  Args:
    names: of the arrays that are mapped, floats or ints; the rest is shared.
    axis: which axis of each is mapped.
    how: "vmap", or one of the loops "scan" and "map", of function and gradient
      together; or "grad", the gradient of the mapped function.
  """

  names: tuple[str, ...]
  axis: int = 0
  how: Literal["vmap", "scan", "map", "grad"] = "vmap"

  def __call__(self, attend: Callable, problem: Problem) -> None:
    """Raises AssertionError where the stack is not what its slices are."""
    slices = [self._slice(problem, n) for n in range(_SLICES)]
    each = [expected_of(problem, reverse, *drawn) for drawn in slices]
    pile = lambda *x: np.stack(x)
    truth = jax.tree.map(pile, *(e.truth for e in each))
    own = jax.tree.map(pile, *(e.own for e in each))
    if self.how == "grad":  # of what is mapped; the rest is given
      truth["gradient"], own["gradient"] = (
        {n: y for n, y in x["gradient"].items() if n in self.names}
        for x in (truth, own)
      )
    compare(self._found(attend, problem, slices), Expected(truth, own))

  def _slice(self, problem: Problem, n: int) -> tuple[dict, dict]:
    """The arrays of a slice: what is mapped is drawn anew, the rest is not."""
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
    """All slices at once, the mapped axis brought to the front."""
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
    """The value mapped first, and then its gradient, of a stack."""

    def run(mapped: dict) -> dict:
      ints = {n: x for n, x in mapped.items() if n not in floats}
      x = {n: y for n, y in mapped.items() if n in floats}
      axes = {n: self._axis_of(y, 1) for n, y in mapped.items()}
      every = jax.vmap(value, (axes,))
      found, pull = jax.vjp(lambda y: every(ints | y), x)
      # Each slice is asked in the directions in which it is asked alone.
      one = directions(jax.tree.map(lambda y: y[0], found), "cotangent")
      (gradient,) = pull(jax.tree.map(lambda y: jnp.stack([y] * _SLICES), one))
      front = {n: jnp.moveaxis(y, axes[n], 0) for n, y in gradient.items()}
      return {"value": found, "gradient": front}

    return run

  def _over(self, one: Callable) -> Callable:
    """One slice's function, made that of a stack."""
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
    """The mapped axis; the first, of an array that has too few."""
    return self.axis if self.axis <= np.ndim(x) - stacked else 0
