"""Checks that hidden keys have exactly no influence, by values and derivatives.

A key that is hidden by a mask, or by a bias of -inf, has weight 0, not a small
one: values and derivatives that depend on hidden keys only are exactly 0.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.testing.problem import Problem
from attnjax.testing.runner import arrays, called, compiled, host, precise

__all__ = [
  "check_dtypes",
  "check_structure",
  "reads_only_what_it_sees",
  "seen",
  "tells_only_who_sees_it",
]


# The arrays of which the Jacobian is taken.
_READ = ("query", "key", "value")


def seen(problem: Problem) -> np.ndarray:
  """bool ``*B H T S``, the keys that a query sees by mask and bias."""
  visible = problem.visible(problem.ints())
  bias = problem.floats().get("bias")
  if bias is None:
    return visible
  return visible & ~np.isneginf(np.broadcast_to(bias, visible.shape))


def check_structure(problem: Problem, found: dict) -> None:
  """Checks that results which depend on hidden keys alone are exactly 0.

  A query that sees no key has output 0, log-sum-exp -inf and gradient 0. A key
  or value that no query sees has gradient 0, as has a bias that is added to
  hidden logits alone.

  Args:
    problem: the call.
    found: results by kind ("value", "tangent", "gradient") and name.

  Raises:
    AssertionError: naming the array and the place.
  """
  visible = seen(problem)
  empty = np.asarray(~visible.any(axis=-1))  # *B H T
  rows = np.swapaxes(empty, -1, -2)[..., None]  # *B T H 1
  group = problem.heads // problem.shared
  grouped = (*problem.batch, problem.shared, group, problem.keys)
  # A key is read if any query of any head of its group sees it.
  read = np.asarray(visible.any(axis=-2)).reshape(grouped)  # *B K G S
  unread = np.swapaxes(~read.any(axis=-2), -1, -2)[..., None]  # *B S K 1

  for kind in ("value", "tangent"):
    _check_zero_at(f"{kind} of out", "the query sees no key", found, rows)
    for name in ("weights", "entropy"):
      places = empty[..., None] if name == "weights" else empty
      _check_zero_at(
        f"{kind} of {name}", "the query sees no key", found, places
      )
  for name in ("logsumexp", "max_logit"):
    _check_zero_at(f"tangent of {name}", "the query sees no key", found, empty)
    _check_equal_at(
      f"value of {name}", "the query sees no key", found, empty, -np.inf
    )

  _check_zero_at("value of weights", "the key is hidden", found, ~visible)

  _check_zero_at("gradient of query", "the query sees no key", found, rows)
  for name in ("key", "value"):
    _check_zero_at(
      f"gradient of {name}", "no query sees the key", found, unread
    )

  bias = found.get("gradient", {}).get("bias")
  if bias is not None:
    places = _summed(~visible, bias.shape)
    _check_zero_at(
      "gradient of bias", "it adds to hidden logits alone", found, places
    )


def check_dtypes(problem: Problem, values: dict) -> None:
  """Checks dtypes: that of the value for out; float32 or float64 for aux."""
  other = "float64" if problem.x64 else "float32"
  for name, array in values.items():
    wanted = problem.dtype if name == "out" else other
    if array.dtype.name != wanted:
      raise AssertionError(f"{name} is {array.dtype}, expected {wanted}")


def _check_zero_at(where: str, why: str, found: dict, places) -> None:
  """Checks that an array, if it was found, is exactly 0 at places."""
  _check_equal_at(where, why, found, places, 0)


def _check_equal_at(where: str, why: str, found: dict, places, wanted) -> None:
  """Checks that an array, if it was found, has one exact value at places."""
  kind, name = where.split(" of ")
  array = found.get(kind, {}).get(name)
  if array is None:
    return

  wrong = np.broadcast_to(places, array.shape) & (array != wanted)
  if wrong.any():
    place = tuple(map(int, np.argwhere(wrong)[0]))
    words = name if kind == "value" else where
    raise AssertionError(
      f"{words} must be exactly {wanted} at {list(place)}, where {why}; got"
      f" {array[place]:.3g} ({wrong.sum()} such places)"
    )


def _summed(hidden: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """bool, shape of a bias: entries that broadcast to hidden logits alone."""
  axes = (1,) * (hidden.ndim - len(shape)) + tuple(shape)
  over = tuple(a for a, size in enumerate(axes) if size == 1)
  return hidden.all(axis=over, keepdims=True).reshape(shape)


def reads_only_what_it_sees(attend: Callable, problem: Problem) -> None:
  """Checks zeros of the Jacobian row of each query, by `vmap` of `vjp`.

  It is exactly 0 at every hidden key and value and at other queries, and not 0
  at any value that the query sees.
  """
  with precise(problem):
    floats, ints = arrays(problem)
    function = called(attend, problem)
    every = {name: floats[name] for name in _READ}

    def rows(x):
      out, pull = jax.vjp(lambda y: function(floats | y, ints)["out"], x)
      # One cotangent a query: 1 on all its outputs, 0 on those of others.
      place = jnp.eye(problem.length, dtype=out.dtype)
      place = place.reshape(_on(place.shape, out.ndim + 1, (0, -3)))
      asked = jnp.broadcast_to(place, (problem.length, *out.shape))
      return jax.vmap(lambda cotangent: pull(cotangent)[0])(asked)

    found = host(compiled(rows)(every))

  reads = np.moveaxis(_by_key_head(problem), -2, 0)  # T *B K S
  reads = np.swapaxes(reads, -1, -2)[..., None]  # T *B S K 1
  for name in ("key", "value"):
    _check_zero(f"gradient of {name}, by query,", found[name], ~reads)
  other = ~np.eye(problem.length, dtype=bool)
  other = other.reshape(_on(other.shape, found["query"].ndim, (0, -3)))
  _check_zero("gradient of query, by query,", found["query"], other)
  # Else an attention that returns 0 would pass. Of values alone: a query that
  # sees a single key has weight 1, and no gradient reaches that key.
  _check_nonzero("value", found["value"], reads)


def tells_only_who_sees_it(attend: Callable, problem: Problem) -> None:
  """Checks zeros of the Jacobian column of each key, by `vmap` of `jvp`.

  It is exactly 0 where the query does not see the key, and not 0 where it does.
  """
  with precise(problem):
    floats, ints = arrays(problem)
    function = called(attend, problem)
    every = {name: floats[name] for name in ("key", "value")}

    def columns(x):
      change = lambda tangent: jax.jvp(
        lambda y: function(floats | y, ints)["out"], (x,), (tangent,)
      )[1]
      # One tangent a key: 1 on the entries of its key and value.
      place = jnp.eye(problem.keys, dtype=x["key"].dtype)

      def asked(y):
        axes = place.reshape(_on(place.shape, y.ndim + 1, (0, -3)))
        return jnp.broadcast_to(axes, (problem.keys, *y.shape))

      return jax.vmap(change)(jax.tree.map(asked, x))

    found = host(compiled(columns)(every))

  seen_by = np.moveaxis(seen(problem), -1, 0)  # S *B H T
  seen_by = np.swapaxes(seen_by, -1, -2)[..., None]  # S *B T H 1
  _check_zero("tangent of out, by key,", found, ~seen_by)
  _check_nonzero("key and value", found, seen_by)


def _on(shape, rank: int, axes: tuple[int, int]) -> list[int]:
  """Shape of the given rank, of size 1 on all but two axes, to broadcast."""
  full = [1] * rank
  for axis, size in zip(axes, shape, strict=True):
    full[axis] = size
  return full


def _by_key_head(problem: Problem) -> np.ndarray:
  """bool ``*B K T S``, whether any head of a group sees a key."""
  group = problem.heads // problem.shared
  visible = seen(problem)
  shape = (*problem.batch, problem.shared, group, *visible.shape[-2:])
  return np.asarray(visible.reshape(shape).any(-3))


def _check_zero(name: str, array, hidden) -> None:
  """Checks that a derivative is exactly 0 where something is hidden."""
  wrong = np.broadcast_to(hidden, array.shape) & (array != 0)
  if wrong.any():
    place = tuple(map(int, np.argwhere(wrong)[0]))
    raise AssertionError(
      f"{name} must be exactly 0 at {list(place)}, which is hidden from it;"
      f" got {array[place]:.3g} ({wrong.sum()} such places)"
    )


def _check_nonzero(name: str, array, shown) -> None:
  """Checks that a derivative is not 0 where something is seen."""
  missing = shown[..., 0] & (array == 0).all(-1)
  if missing.any():
    place = list(map(int, np.argwhere(missing)[0]))
    raise AssertionError(f"no derivative at {place}, where {name} is seen")
