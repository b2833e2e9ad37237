"""What a problem's results are, and how well its dtype can know them."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.testing import dense, oracle
from attnjax.testing.compiling import compiled
from attnjax.testing.problem import Problem
from attnjax.testing.subject import host

__all__ = ["Expected", "expected", "expected_of", "oracle_values"]

# An array of fewer numbers may be lucky.
_FEW = 16


class Expected(NamedTuple):
  """The truth, and what the same computation gives in the problem's dtype.

  Their difference is the error that the dtype itself makes. Both are trees of
  numpy arrays. For a float64 problem `own` is of float32, and `ratio` brings
  its error down to what float64 makes of it.
  """

  truth: dict
  own: dict
  ratio: float = 1.0


def expected(problem: Problem, law: Callable, kept=None) -> Expected:
  """The truth of a law of `derivatives` on a problem.

  Args:
    problem: the call.
    law: of `attnjax.testing.derivatives`.
    kept: bool ``*B H T S``, which weights dropout left; None is all.
  """
  if kept is None:
    return _cached(problem, law)
  return _expected(problem, law, kept)


@functools.lru_cache(maxsize=64)
def _cached(problem: Problem, law: Callable) -> Expected:
  """Many cases ask the same of the same problem."""
  return _expected(problem, law, None)


def _expected(problem: Problem, law: Callable, kept) -> Expected:
  """The truth of the arrays that a problem draws."""
  return expected_of(problem, law, problem.floats(), problem.ints(), kept)


def expected_of(
  problem: Problem, law: Callable, floats: dict, ints: dict, kept=None
) -> Expected:
  """As `expected`, of given arrays: in float64, and in the problem's dtype."""
  run = lambda x: _run(problem, law, x, ints, kept)
  wide = {name: x.astype(np.float64) for name, x in floats.items()}
  with jax.enable_x64(True), jax.default_device(_precise_device()):
    truth = run(wide)
  if not problem.x64:
    return Expected(truth, _rounded(run, floats, truth))
  narrow = {name: x.astype(np.float32) for name, x in floats.items()}
  rounded = {name: x.astype(np.float64) for name, x in narrow.items()}
  with jax.enable_x64(True):
    exact = run(rounded)
  own = _rounded(run, narrow, exact)
  # What float32 lost, put upon the truth: comparing sees the loss alone.
  lost = jax.tree.map(
    lambda t, e, o: t + (_widened(o) - _widened(e)), truth, exact, own
  )
  ratio = np.finfo(np.float64).eps / np.finfo(np.float32).eps
  return Expected(truth, lost, float(ratio))


def _rounded(run: Callable, floats: dict, truth: dict) -> dict:
  """What the dtype makes of it; of small arrays, at its worst of a few runs.

  The largest error of thousands of numbers tells what the dtype errs. That of
  one number, such as the gradient of a temperature, may be luck: so inputs an
  eps away, which no rounding error can tell from these, are asked too.
  """
  with jax.enable_x64(False):
    own = run(floats)
    if min(x.size for x in jax.tree.leaves(own)) >= _FEW:
      return own
    runs = [own, *(run(_nudged(floats, seed)) for seed in range(3))]
  return jax.tree.map(_worst, truth, *runs)


def _nudged(floats: dict, seed: int) -> dict:
  """Each number times 1, 1 - eps or 1 + eps of the float32 of all sums."""
  draws, eps = np.random.default_rng(seed), float(np.finfo(np.float32).eps)

  def moved(x: np.ndarray) -> np.ndarray:
    steps = draws.integers(-1, 2, x.shape) * eps
    return np.asarray(x * (1 + steps), x.dtype)

  # Some are one number, which numpy does not call an array.
  return {name: moved(np.asarray(x)) for name, x in floats.items()}


def _worst(truth: np.ndarray, own: np.ndarray, *others) -> np.ndarray:
  """Of a small array the run furthest from the truth, of others the first."""
  if own.size >= _FEW:
    return own
  apart = lambda x: float(np.abs(_widened(x) - _widened(truth)).max(initial=0))
  return max((own, *others), key=apart)


def _widened(x: np.ndarray) -> np.ndarray:
  """float64, and -inf as 0 so that it is lost in no difference."""
  x = x.astype(np.float64)
  return np.where(np.isfinite(x), x, 0)


def _run(problem: Problem, law: Callable, floats: dict, ints, kept) -> dict:
  """A law of the dense oracle, in the dtype of the arrays."""
  form = dense.Form(
    problem.scoring or "scaled_dot",
    problem.score_mod,
    problem.normalizer or "softmax",
    problem.aux,
    problem.dropout_rate,
  )
  floats = {name: jnp.asarray(x) for name, x in floats.items()}
  where = tuple(problem.where(ints))
  run = _compiled(jax.default_backend())
  return host(run(law, form, floats, problem.visible(ints), where, kept))


@functools.cache
def _compiled(platform: str) -> Callable:
  """One for each platform: it is compiled for the default one."""
  del platform
  return compiled(_dense, static=(0, 1))


def _dense(law, form, floats, visible, where, kept):
  """A law of the dense oracle, as a function of its arrays."""
  function = lambda x: dense.attention(form, x, visible, where, kept)
  return law(function, floats)


def _precise_device():
  """A CPU, whose float64 is exact, where there is one."""
  try:
    return jax.local_devices(backend="cpu")[0]
  except RuntimeError:  # started with JAX_PLATFORMS that names no CPU
    return jax.local_devices()[0]


@functools.lru_cache(maxsize=64)
def oracle_values(problem: Problem) -> dict[str, np.ndarray]:
  """The results of a problem by the numpy oracle, by name."""
  floats, ints = problem.floats(), problem.ints()
  truth = oracle.attention(
    *(floats[name] for name in ("query", "key", "value")),
    visible=problem.visible(ints),
    bias=floats.get("bias"),
    scoring=problem.scoring or "scaled_dot",
    score_mod=problem.score_mod,
    normalizer=problem.normalizer or "softmax",
    captured=floats,
    query_positions=ints.get("query_positions"),
    key_positions=ints.get("key_positions"),
  )
  every = truth._asdict()
  return {name: every[name] for name in ("out", *problem.aux)}
