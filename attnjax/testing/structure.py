"""What is exactly 0 because a key is hidden, and not merely small."""

import numpy as np

from attnjax.testing.problem import Problem

__all__ = ["check_dtypes", "check_structure", "seen"]


def seen(problem: Problem) -> np.ndarray:
  """Which key each query sees, ``*B H T S``: the mask and a bias of -inf."""
  visible = problem.visible(problem.ints())
  bias = problem.floats().get("bias")
  if bias is None:
    return visible
  return visible & ~np.isneginf(np.broadcast_to(bias, visible.shape))


def check_structure(problem: Problem, found: dict) -> None:
  """No trace of what is hidden, to the last bit.

  A query that sees nothing reads 0 with log-sum-exp -inf, and has gradient 0;
  so has a key or value that nobody sees, and a bias where it adds to what is
  hidden. For the derivative of a sum is the sum of nothing.

  Raises:
    AssertionError: naming the array and the place.
  """
  visible = seen(problem)
  empty = np.asarray(~visible.any(axis=-1))  # *B H T
  rows = np.swapaxes(empty, -1, -2)[..., None]  # *B T H 1
  group = problem.heads // problem.shared
  grouped = (*problem.batch, problem.shared, group, problem.keys)
  read = np.asarray(visible.any(axis=-2)).reshape(grouped)  # *B K G S
  unread = np.swapaxes(~read.any(axis=-2), -1, -2)[..., None]  # *B S K 1
  for kind in ("value", "tangent"):
    _zero(f"{kind} of out", "the query sees no key", found, rows)
    for name in ("weights", "entropy"):
      places = empty[..., None] if name == "weights" else empty
      _zero(f"{kind} of {name}", "the query sees no key", found, places)
  for name in ("logsumexp", "max_logit"):
    _zero(f"tangent of {name}", "the query sees no key", found, empty)
    _equal(f"value of {name}", "the query sees no key", found, empty, -np.inf)
  _zero("value of weights", "the key is hidden", found, ~visible)
  _zero("gradient of query", "the query sees no key", found, rows)
  for name in ("key", "value"):
    _zero(f"gradient of {name}", "no query sees the key", found, unread)
  bias = found.get("gradient", {}).get("bias")
  if bias is not None:
    places = _summed(~visible, bias.shape)
    _zero("gradient of bias", "it adds to hidden logits alone", found, places)


def check_dtypes(problem: Problem, values: dict) -> None:
  """The output has the value's dtype; aux float32, or float64 under x64."""
  other = "float64" if problem.x64 else "float32"
  for name, array in values.items():
    wanted = problem.dtype if name == "out" else other
    if array.dtype.name != wanted:
      raise AssertionError(f"{name} is {array.dtype}, expected {wanted}")


def _zero(where: str, why: str, found: dict, places) -> None:
  _equal(where, why, found, places, 0)


def _equal(where: str, why: str, found: dict, places, wanted) -> None:
  """One array has one exact value at certain places, if it was asked for."""
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
  """Where everything that an entry of the bias is broadcast to is hidden."""
  axes = (1,) * (hidden.ndim - len(shape)) + tuple(shape)
  over = tuple(a for a, size in enumerate(axes) if size == 1)
  return hidden.all(axis=over, keepdims=True).reshape(shape)
