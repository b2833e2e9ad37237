"""How large an error may be: what the dtype itself errs, and a little more.

The dense oracle is run twice on the same inputs: in float64, which is the
truth, and in the dtype under test, as the definition reads. The largest error
of the second run is what anybody pays in that dtype, on that device, at its
matmul precision. A result may err

    budget = FACTOR · own error + FLOOR · eps · largest |truth|

array by array: FACTOR because sums may be taken in another order, the floor
because the oracle may be lucky. Its eps is that of float32, or float64, in
which sums are taken by contract whatever the inputs: what rounding a result to
bfloat16 costs is in the oracle's own error. So a
problem of large logits, of long sums or of bfloat16 gets a budget of its own,
and a tolerance never has to be chosen by hand.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.testing import oracle
from attnjax.testing.problem import Problem
from attnjax.testing.runner import compiled, host

__all__ = [
  "FACTOR",
  "FLOOR",
  "Expected",
  "compare",
  "compare_arrays",
  "expected",
  "expected_of",
  "oracle_values",
]

FACTOR = 4.0
FLOOR = 8.0

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
  form = oracle.StaticOptions(
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
  function = lambda x: oracle.dense_attention(form, x, visible, where, kept)
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


def compare(got, expected: Expected) -> None:
  """Every array of a result against the truth, within its budget.

  Raises:
    AssertionError: naming the array, the error, its place and the budget.
  """
  truth = _by_name(expected.truth)
  own, got = _by_name(expected.own), _by_name(got)
  if set(got) != set(truth):
    raise AssertionError(f"expected {sorted(truth)}, got {sorted(got)}")
  for name, array in got.items():
    compare_arrays(name, array, truth[name], own[name], expected.ratio)


def compare_arrays(name: str, got, truth, own, ratio: float = 1.0) -> None:
  """One array against the truth, within its budget."""
  if got.shape != truth.shape:
    raise AssertionError(f"{name} has shape {got.shape}, not {truth.shape}")
  if got.size == 0:
    return
  wide = np.dtype("float64" if got.dtype == np.float64 else "float32")
  eps = float(np.finfo(wide).eps)
  scale = float(np.abs(np.where(np.isfinite(truth), truth, 0)).max())
  lost = ratio * float(_error(own, truth).max())
  error = _error(got, truth)
  budget = FACTOR * lost + FLOOR * eps * scale
  place = tuple(map(int, np.unravel_index(error.argmax(), error.shape)))
  if not error[place] <= budget:
    raise AssertionError(
      f"{name} is off by {error[place]:.3g} at {list(place)}: got"
      f" {got[place]:.9g}, expected {truth[place]:.9g}; the budget is"
      f" {budget:.3g} = {FACTOR:g} x {lost:.3g} (what the dense oracle errs in"
      f" this dtype) + {FLOOR:g} x {eps:.2g} (eps of {wide}) x"
      f" {scale:.3g} (the largest true value)"
    )


def _error(x, truth) -> np.ndarray:
  """|x - truth|; 0 where both are the same infinity, inf where NaN is."""
  x, truth = np.asarray(x, np.float64), np.asarray(truth, np.float64)
  same = x == truth
  finite = np.isfinite(x) & np.isfinite(truth)
  apart = np.abs(np.where(finite, x, 0) - np.where(finite, truth, 0))
  return np.where(same, 0, np.where(finite, apart, np.inf))


def _by_name(tree) -> dict[str, np.ndarray]:
  """The arrays of nested dictionaries: "gradient of key"."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  words = lambda path: " of ".join(str(entry.key) for entry in path)
  return {words(path).removeprefix("value of "): x for path, x in leaves}
