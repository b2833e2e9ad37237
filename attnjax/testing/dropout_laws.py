"""Laws of attention dropout: its rate, scale, gradient and random numbers.

Which weight is dropped is a function of the random key, batch row, head, query
and key index alone, and so the same forward and backward, whatever the blocks.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import attnjax
from attnjax.testing.derivatives import forward, reverse, value
from attnjax.testing.error_budget import compare, expected
from attnjax.testing.hidden_keys import check_structure, seen
from attnjax.testing.problem import Problem
from attnjax.testing.runner import arrays, called, compiled, host, precise

__all__ = [
  "drops_and_scales",
  "drops_as_reference_does",
  "drops_by_place",
  "drops_nothing_at_rate_zero",
  "drops_the_same_backward",
  "is_right_on_average",
  "keys_decide",
]

# Standard deviations that a mean may be off: by luck once in 5e8.
_SIGMAS = 6.0


def weights(attend: Callable, problem: Problem, keys) -> np.ndarray:
  """The weights after dropout, ``*B H T S``, for each random key.

  With the unit vectors as values, the output is the weights.
  """
  shown = dataclasses.replace(problem, value_width=problem.keys, aux=())
  with precise(problem):
    floats, ints = arrays(shown)
    unit = jnp.eye(problem.keys, dtype=floats["value"].dtype)[:, None, :]
    unit = unit.reshape((1,) * len(problem.batch) + unit.shape)
    floats["value"] = jnp.broadcast_to(unit, floats["value"].shape)

    def one(key, floats):
      rate = {"dropout_rate": problem.dropout_rate, "dropout_key": key}
      return called(attend, shown, **rate)(floats, ints)["out"]

    read = compiled(jax.vmap(one, (0, None)))(keys, floats)
    return np.swapaxes(np.asarray(read), -2, -3)


def drops_and_scales(attend: Callable, problem: Problem) -> None:
  """A weight is 0 or divided by 1 - rate; the share of zeros is the rate."""
  rate, visible = problem.dropout_rate, seen(problem)
  plain = expected(_showing_weights(problem), value).truth["value"]["weights"]
  (read,) = weights(attend, problem, _keys(1))

  scaled = plain / (1 - rate)
  off = np.where(read == 0, 0, np.abs(read - scaled)).max()
  # About 80 eps of float32, for weights of at most 1 / (1 - rate).
  if off > 1e-5:
    raise AssertionError(
      f"a weight is neither 0 nor divided by 1 - {rate}: off by {off:.3g}"
    )

  share = (read[visible] == 0).mean()
  # Binomial: each visible weight is dropped with probability `rate`.
  spread = _SIGMAS * np.sqrt(rate * (1 - rate) / visible.sum())
  if abs(share - rate) > spread:
    raise AssertionError(f"dropped {share:.3f} of the weights, asked {rate}")


def drops_the_same_backward(attend: Callable, problem: Problem) -> None:
  """Gradient and JVP are those of the weights that were dropped forward."""
  (read,) = weights(attend, problem, _keys(1))
  for law in (reverse, forward):
    with precise(problem):
      floats, ints = arrays(problem)
      rate = {"dropout_rate": problem.dropout_rate}
      function = called(attend, problem, **rate, dropout_key=_keys(1)[0])
      run = lambda x: law(lambda y: function(y, ints), x)  # noqa: B023
      got = host(compiled(run)(floats))
    compare(got, expected(problem, law, read != 0))
    check_structure(problem, got)


def drops_nothing_at_rate_zero(attend: Callable, problem: Problem) -> None:
  """Rate 0 gives the same bits as no dropout, whatever the key."""
  with precise(problem):
    floats, ints = arrays(problem)
    plain = called(attend, problem)
    zero = called(attend, problem, dropout_rate=0.0, dropout_key=_keys(1)[0])
    same = [jax.jit(lambda x, f=f: f(x, ints))(floats) for f in (plain, zero)]
  for a, b in zip(*map(jax.tree.leaves, same), strict=True):
    if not np.array_equal(a, b):
      raise AssertionError("dropout_rate=0.0 is not the same as no dropout")


def keys_decide(attend: Callable, problem: Problem) -> None:
  """A key drops the same alone and under `vmap`; two keys independently."""
  keys = _keys(3)
  batched = weights(attend, problem, keys)
  for n in range(3):
    (alone,) = weights(attend, problem, keys[n : n + 1])
    if not np.array_equal(alone != 0, batched[n] != 0):
      raise AssertionError(f"key {n} drops other weights alone than by vmap")

  visible = seen(problem)
  both = ((batched[0] != 0) == (batched[1] != 0))[visible].mean()
  # Independent keys agree where both keep a weight or both drop it.
  agreement = (1 - problem.dropout_rate) ** 2 + problem.dropout_rate**2
  if abs(both - agreement) > _SIGMAS * np.sqrt(
    agreement * (1 - agreement) / visible.sum()
  ):
    raise AssertionError(
      f"two keys agree about {both:.3f} of the weights; independent ones would"
      f" about {agreement:.3f}"
    )

  # Nor are neighbours on an axis dropped together.
  kept = batched[0] != 0
  for axis, name in ((-1, "key"), (-2, "query"), (-3, "head")):
    moved = np.roll(kept, 1, axis=axis)
    shown = visible & np.roll(visible, 1, axis=axis)
    same = (kept == moved)[shown].mean()
    if abs(same - agreement) > _SIGMAS * np.sqrt(
      agreement * (1 - agreement) / shown.sum()
    ):
      raise AssertionError(f"neighbours by {name} are dropped together")


def is_right_on_average(attend: Callable, problem: Problem) -> None:
  """The mean over many keys is the weight without dropout."""
  draws, rate = 64, problem.dropout_rate
  plain = expected(_showing_weights(problem), value).truth["value"]["weights"]
  mean = weights(attend, problem, _keys(draws)).mean(0)

  # A draw is w / (1 - rate) with probability 1 - rate, else 0: its variance is
  # w² · rate / (1 - rate).
  loose = np.sqrt(rate / (1 - rate) / draws)
  spread = plain * loose
  worst = (np.abs(mean - plain) - _SIGMAS * spread).max()
  if worst > 1e-5:
    raise AssertionError(
      f"the mean of {draws} draws is {worst:.3g} further from the undropped"
      f" weights than {_SIGMAS:g} standard deviations"
    )

  # Errors of single weights average out in their sum, which is known better.
  apart = abs(mean.sum() - plain.sum())
  if apart > _SIGMAS * loose * np.sqrt((plain**2).sum()):
    raise AssertionError(
      f"the mean of {draws} draws sums to {mean.sum():.6g}, the undropped"
      f" weights to {plain.sum():.6g}"
    )


def drops_by_place(attend: Callable, problem: Problem) -> None:
  """A shorter call drops the same weights as the corner of a longer one.

  So neither the lengths nor the blocks that they are cut into matter.
  """
  # 151 of 300 and 301 of 600 in the suite: the corner ends inside a block,
  # whose sizes are powers of 2.
  length, keys = problem.length // 2 + 1, problem.keys // 2 + 1
  short = dataclasses.replace(problem, length=length, keys=keys)
  (whole,) = weights(attend, problem, _keys(1))
  (corner,) = weights(attend, short, _keys(1))
  wrong = (whole != 0)[..., :length, :keys] != (corner != 0)
  if wrong.any():
    raise AssertionError(
      f"a call of {problem.length} x {problem.keys} drops other weights than"
      f" one of {length} x {keys}, first at {np.argwhere(wrong)[0].tolist()}:"
      " what is dropped depends on lengths or blocks"
    )


def drops_as_reference_does(attend: Callable, problem: Problem) -> None:
  """The same weights are dropped as by the reference implementation."""
  (mine,) = weights(attend, problem, _keys(1))
  (theirs,) = weights(_reference, problem, _keys(1))
  wrong = (mine != 0) != (theirs != 0)
  if wrong.any():
    raise AssertionError(
      f"{wrong.sum()} weights are dropped here and kept by the reference, or"
      f" the other way, first at {np.argwhere(wrong)[0].tolist()}"
    )


def _reference(*arrays, **options):
  """`attend` by the reference implementation."""
  return attnjax.attend(*arrays, **options, implementation="reference")


def _keys(count: int):
  """Random keys of a fixed seed."""
  # One fixed seed: these are statistical tests, which must not fail at random.
  return jax.random.split(jax.random.key(7), count)


def _showing_weights(problem: Problem) -> Problem:
  """The problem without dropout, asking for its weights."""
  return dataclasses.replace(problem, aux=("weights",), dropout_rate=0.0)
