"""Expected results and error budgets, measured in the dtype under test.

The dense oracle is run twice on the same inputs: in float64, which is the
truth, and in the dtype under test. The largest error of the second run is the
rounding error of the plain definition in that dtype, on that device, at its
matmul precision. The error of a result may be at most

    budget = FACTOR · own error + FLOOR · eps · largest |truth|

array by array: FACTOR because sums may be taken in another order, FLOOR because
the oracle may have no error by luck. eps is that of float32 (float64 for
float64 inputs), in which sums are accumulated whatever the inputs; what
rounding a result to bfloat16 costs is in the oracle's own error. So large
logits, long sums and bfloat16 each get a budget of their own, and no tolerance
is chosen by hand.
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

FACTOR = 4.0  # of the own error: sums may be taken in another order
FLOOR = 8.0  # of eps: the oracle may have no error by luck

# Arrays of fewer numbers may have a small error by luck: they are run again.
_FEW = 16


class Expected(NamedTuple):
  """The true results, and those of the dense oracle in the problem's dtype.

  Args:
    truth: tree of numpy arrays, of float64.
    own: the same tree in the dtype of the problem, or in float32 if that is
      float64; its difference from the truth is the error of the dtype.
    ratio: what the error is multiplied by: eps of float64 / eps of float32 for
      a float64 problem, else 1.
  """

  truth: dict
  own: dict
  ratio: float = 1.0


def expected(problem: Problem, transform: Callable, kept=None) -> Expected:
  """Expected results of a transform on a problem.

  Args:
    problem: the call.
    transform: of `derivatives`.
    kept: bool ``*B H T S``, the weights that dropout leaves; None is all.
  """
  if kept is None:
    return _cached(problem, transform)
  return _expected(problem, transform, kept)


@functools.lru_cache(maxsize=64)
def _cached(problem: Problem, transform: Callable) -> Expected:
  """`expected` without dropout, cached: many cases share a problem."""
  return _expected(problem, transform, None)


def _expected(problem: Problem, transform: Callable, kept) -> Expected:
  """Expected results on the arrays that a problem draws."""
  return expected_of(problem, transform, problem.floats(), problem.ints(), kept)


def expected_of(
  problem: Problem, transform: Callable, floats: dict, ints: dict, kept=None
) -> Expected:
  """As `expected`, on given arrays."""
  run = lambda x: _run(problem, transform, x, ints, kept)
  wide = {name: x.astype(np.float64) for name, x in floats.items()}
  with jax.enable_x64(True), jax.default_device(_precise_device()):
    truth = run(wide)
  if not problem.x64:
    return Expected(truth, _rounded(run, floats, truth))

  # No wider dtype is at hand to measure the error of float64: it is that of
  # float32, scaled.
  narrow = {name: x.astype(np.float32) for name, x in floats.items()}
  rounded = {name: x.astype(np.float64) for name, x in narrow.items()}
  with jax.enable_x64(True):
    # The truth of the rounded inputs, so that rounding them is no part of the
    # error.
    exact = run(rounded)
  own = _rounded(run, narrow, exact)

  # The truth plus the error of float32, so that their difference is the error.
  lost = jax.tree.map(
    lambda t, e, o: t + (_widened(o) - _widened(e)), truth, exact, own
  )
  ratio = np.finfo(np.float64).eps / np.finfo(np.float32).eps
  return Expected(truth, lost, float(ratio))


def _rounded(run: Callable, floats: dict, truth: dict) -> dict:
  """Results in the dtype of the arrays; of small ones the worst of four runs.

  The largest error of thousands of numbers measures the dtype. That of one
  number, such as the gradient of a temperature, may be small by luck: three
  runs on inputs an eps away, which rounding cannot tell apart, are added.
  """
  with jax.enable_x64(False):
    own = run(floats)
    if min(x.size for x in jax.tree.leaves(own)) >= _FEW:
      return own
    runs = [own, *(run(_nudged(floats, seed)) for seed in range(3))]
  return jax.tree.map(_worst, truth, *runs)


def _nudged(floats: dict, seed: int) -> dict:
  """Each number times 1 - eps, 1 or 1 + eps of float32."""
  draws, eps = np.random.default_rng(seed), float(np.finfo(np.float32).eps)

  def moved(x: np.ndarray) -> np.ndarray:
    steps = draws.integers(-1, 2, x.shape) * eps
    return np.asarray(x * (1 + steps), x.dtype)

  # A product of scalars is no array in numpy.
  return {name: moved(np.asarray(x)) for name, x in floats.items()}


def _worst(truth: np.ndarray, own: np.ndarray, *others) -> np.ndarray:
  """The run furthest from the truth if the array is small, else the first."""
  if own.size >= _FEW:
    return own
  apart = lambda x: float(np.abs(_widened(x) - _widened(truth)).max(initial=0))
  return max((own, *others), key=apart)


def _widened(x: np.ndarray) -> np.ndarray:
  """The array in float64, with 0 for infinities, whose difference is NaN."""
  x = x.astype(np.float64)
  return np.where(np.isfinite(x), x, 0)


def _run(
  problem: Problem, transform: Callable, floats: dict, ints, kept
) -> dict:
  """A transform of the dense oracle, in the dtype of the arrays, as numpy."""
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

  return host(run(transform, form, floats, problem.visible(ints), where, kept))


@functools.cache
def _compiled(platform: str) -> Callable:
  """The jitted `_dense`, one for each platform.

  `jit` looks up programs by arguments, and would use one of another default
  device.
  """
  del platform
  return compiled(_dense, static=(0, 1))


def _dense(transform, form, floats, visible, where, kept):
  """A transform of the dense oracle, as a function to be jitted."""
  function = lambda x: oracle.dense_attention(form, x, visible, where, kept)
  return transform(function, floats)


def _precise_device():
  """A CPU if there is one: TPUs emulate float64 with less precision."""
  try:
    return jax.local_devices(backend="cpu")[0]
  except RuntimeError:  # started with JAX_PLATFORMS that names no CPU
    return jax.local_devices()[0]


@functools.lru_cache(maxsize=64)
def oracle_values(problem: Problem) -> dict[str, np.ndarray]:
  """Results of a problem by the numpy oracle, by name."""
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
  """Checks every array of a result against the truth, within its budget.

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
  """Checks one array against the truth, within its budget."""
  if got.shape != truth.shape:
    raise AssertionError(f"{name} has shape {got.shape}, not {truth.shape}")
  # Empty arrays have no largest error: their shape is all there is to check.
  if got.size == 0:
    return

  # float32 for bfloat16 and float16 too, see the docstring of the module.
  wide = np.dtype("float64" if got.dtype == np.float64 else "float32")
  eps = float(np.finfo(wide).eps)
  # Infinities, such as the log-sum-exp of an empty row, are compared exactly.
  scale = float(np.abs(np.where(np.isfinite(truth), truth, 0)).max())
  lost = ratio * float(_error(own, truth).max())
  error = _error(got, truth)
  budget = FACTOR * lost + FLOOR * eps * scale

  place = tuple(map(int, np.unravel_index(error.argmax(), error.shape)))
  # Negated, for NaN compares as false.
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
  """Arrays of nested dictionaries by name, such as "gradient of key"."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  words = lambda path: " of ".join(str(entry.key) for entry in path)
  return {words(path).removeprefix("value of "): x for path, x in leaves}
