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

import jax
import numpy as np

from attnjax.testing.truth import Expected

__all__ = ["FACTOR", "FLOOR", "compare", "compare_arrays"]

FACTOR = 4.0
FLOOR = 8.0


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
