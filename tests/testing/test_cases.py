"""The list of cases: names, patterns, reasons, words."""

import unittest

import jax
import numpy as np
import pytest

import attnjax
from attnjax import testing
from attnjax.testing.error_budget import compare_arrays


def attend(*arrays, **options):
  return attnjax.attend(*arrays, **options, implementation="reference")


def test_names_are_distinct_and_grouped():
  names = [str(c) for c in (*testing.cases(), *testing.linear_memory_cases())]
  assert len(set(names)) == len(names)
  assert all(name.count("/") == 1 for name in names)
  # pytest's -k and shell patterns read brackets otherwise.
  assert not any(set(name) & set("[]*?") for name in names)


def test_what_is_skipped_is_said_and_not_passed():
  cases = testing.cases(skip={"top_k*": "has no top-k"})
  assert len(cases) == len(testing.cases())
  skipped = [case for case in cases if case.not_applicable == "has no top-k"]
  assert "normalizer/top_k" in map(str, skipped)
  with pytest.raises(unittest.SkipTest, match=r"top_k: has no top-k"):
    next(c for c in skipped if str(c) == "normalizer/top_k").check(attend)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"only": "mask/casual"}, "no case is called 'mask/casual'.*groups are"),
    ({"skip": {"no_such": "why"}}, "no case is called 'no_such'"),
    ({"skip": {"top_k": " "}}, r"skip\['top_k'\] must be the reason"),
  ],
)
def test_patterns_that_are_wrong(options, words):
  with pytest.raises(ValueError, match=words):
    testing.cases(**options)


def test_cases_for_more_devices_than_there_are(monkeypatch):
  cases = testing.cases(only="devices/*")
  assert len(cases) == 7
  assert [case.not_applicable for case in cases] == [None] * 7
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  for case in cases:
    with pytest.raises(unittest.SkipTest, match="needs 2 devices, there are 1"):
      case.check(attend)


def test_a_package_that_is_not_there():
  (case,) = testing.cases(only="transform/eager")
  absent = testing.Case("a/b", case.law, needs_package="no_such_package")
  with pytest.raises(unittest.SkipTest, match="needs the package no_such_pack"):
    absent.check(attend)


def test_the_words_of_a_failure():
  truth = np.array([[1.0, 2.0], [3.0, 4.0]])
  got = np.array([[1.0, 2.0], [3.5, 4.0]], np.float32)
  own = truth + 1e-7
  words = (
    r"gradient of key is off by 0.5 at \[1, 0\]: got 3.5, expected 3; the"
    r" budget is 4.2\de-06 = 4 x 1e-07 \(what the dense oracle errs in this"
    r" dtype\) \+ 8 x 1.2e-07 \(eps of float32\) x 4 \(the largest true value\)"
  )
  with pytest.raises(AssertionError, match=words):
    compare_arrays("gradient of key", got, truth, own)
  compare_arrays("gradient of key", truth.astype(np.float32), truth, own)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.0])
def test_infinities_are_compared_as_they_are(wrong):
  truth = np.array([-np.inf, 1.0])
  compare_arrays("logsumexp", truth.astype(np.float32), truth, truth)
  with pytest.raises(AssertionError, match="logsumexp is off by inf at"):
    compare_arrays("logsumexp", np.float32([wrong, 1.0]), truth, truth)


@pytest.mark.slow
def test_random_calls_conform():
  testing.check_random(attend, max_examples=15)


def test_problems_draw_the_same_arrays_again():
  problem = testing.Problem(bias="H T S", mask=("lengths",), traced=True)
  other = testing.Problem(mask=("lengths",))
  for name, x in other.floats().items():
    np.testing.assert_array_equal(problem.floats()[name], x)
  for name, x in other.ints().items():
    np.testing.assert_array_equal(problem.ints()[name], x)
  assert hash(problem) == hash(testing.Problem(**vars(problem)))


def test_memory_growth_of_a_transform_of_ones_own():
  def only_values(f, x):
    return jax.grad(lambda v: f(x | {"value": v})["out"].sum())(x["value"])

  held = testing.memory_growth(attend, only_values, (128, 256))
  assert held[256] > 3 * held[128]
