"""What a query may not see moves it by exactly nothing: by its derivatives."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.testing.compiling import compiled
from attnjax.testing.problem import Problem
from attnjax.testing.structure import seen
from attnjax.testing.subject import arrays, called, host, precise

__all__ = ["reads_only_what_it_sees", "tells_only_who_sees_it"]

_READ = ("query", "key", "value")


def reads_only_what_it_sees(attend: Callable, problem: Problem) -> None:
  """Reverse mode, a query at a time: its gradient reaches what it sees.

  Exactly 0 at every key and value it does not see, and at other queries;
  not 0 at any value it does see. (This is a Jacobian, by `vmap` of `vjp`.)
  """
  with precise(problem):
    floats, ints = arrays(problem)
    function = called(attend, problem)
    every = {name: floats[name] for name in _READ}

    def rows(x):
      out, pull = jax.vjp(lambda y: function(floats | y, ints)["out"], x)
      place = jnp.eye(problem.length, dtype=out.dtype)
      place = place.reshape(_on(place.shape, out.ndim + 1, (0, -3)))
      asked = jnp.broadcast_to(place, (problem.length, *out.shape))
      return jax.vmap(lambda cotangent: pull(cotangent)[0])(asked)

    found = host(compiled(rows)(every))
  reads = np.moveaxis(_by_key_head(problem), -2, 0)  # T *B K S
  reads = np.swapaxes(reads, -1, -2)[..., None]  # T *B S K 1
  for name in ("key", "value"):
    _silent(f"gradient of {name}, by query,", found[name], ~reads)
  other = ~np.eye(problem.length, dtype=bool)
  other = other.reshape(_on(other.shape, found["query"].ndim, (0, -3)))
  _silent("gradient of query, by query,", found["query"], other)
  _heard("value", found["value"], reads)


def tells_only_who_sees_it(attend: Callable, problem: Problem) -> None:
  """Forward mode, a key at a time: moving it moves those who see it.

  Exactly nothing of every other output; something of each of theirs.
  """
  with precise(problem):
    floats, ints = arrays(problem)
    function = called(attend, problem)
    every = {name: floats[name] for name in ("key", "value")}

    def columns(x):
      change = lambda tangent: jax.jvp(
        lambda y: function(floats | y, ints)["out"], (x,), (tangent,)
      )[1]
      place = jnp.eye(problem.keys, dtype=x["key"].dtype)

      def asked(y):
        axes = place.reshape(_on(place.shape, y.ndim + 1, (0, -3)))
        return jnp.broadcast_to(axes, (problem.keys, *y.shape))

      return jax.vmap(change)(jax.tree.map(asked, x))

    found = host(compiled(columns)(every))
  told = np.moveaxis(seen(problem), -1, 0)  # S *B H T
  told = np.swapaxes(told, -1, -2)[..., None]  # S *B T H 1
  _silent("tangent of out, by key,", found, ~told)
  _heard("key and value", found, told)


def _on(shape, rank: int, axes: tuple[int, int]) -> list[int]:
  """A shape of two axes, put on two of many."""
  full = [1] * rank
  for axis, size in zip(axes, shape, strict=True):
    full[axis] = size
  return full


def _by_key_head(problem: Problem) -> np.ndarray:
  """Whether any head of a group sees a key: *B K T S."""
  group = problem.heads // problem.shared
  visible = seen(problem)
  shape = (*problem.batch, problem.shared, group, *visible.shape[-2:])
  return np.asarray(visible.reshape(shape).any(-3))


def _silent(name: str, array, hidden) -> None:
  """Exactly 0 where something is hidden."""
  wrong = np.broadcast_to(hidden, array.shape) & (array != 0)
  if wrong.any():
    place = tuple(map(int, np.argwhere(wrong)[0]))
    raise AssertionError(
      f"{name} must be exactly 0 at {list(place)}, which is hidden from it;"
      f" got {array[place]:.3g} ({wrong.sum()} such places)"
    )


def _heard(name: str, array, shown) -> None:
  """Not 0 where something is seen: silence would be no attention at all."""
  deaf = shown[..., 0] & (array == 0).all(-1)
  if deaf.any():
    place = list(map(int, np.argwhere(deaf)[0]))
    raise AssertionError(f"no derivative at {place}, where {name} is seen")
