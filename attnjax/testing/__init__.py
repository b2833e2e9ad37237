"""The conformance suite: checks any attention against the contract of `attend`.

    import pytest
    from attnjax import testing

    def mine(query, key, value, **options):  # called like attnjax.attend
      ...

    @pytest.mark.parametrize("case", testing.cases(), ids=str)
    def test_conforms(case):
      case.check(mine)

An ordinary function is recognized by its signature: of ``mine(query, key,
value, mask=None, bias=None)`` the cases of masks and biases are checked, with
masks as boolean arrays, and the others are skipped; see `ordinary`. What an
attention refuses with NotImplementedError is skipped too. `quick_cases` take
under a minute on two cores.

Values are compared with an oracle in float64 numpy, derivatives with a dense
one in float64 JAX. Tolerances are measured, not chosen: see `error_budget`.
Every skipped case reports its reason.
"""

from attnjax.testing import oracle, strategies
from attnjax.testing.case import Case
from attnjax.testing.memory_growth import memory_growth
from attnjax.testing.ordinary import Ordinary, ordinary
from attnjax.testing.problem import Problem
from attnjax.testing.strategies import check_random
from attnjax.testing.suite import cases, linear_memory_cases, quick_cases

__all__ = [
  "Case",
  "Ordinary",
  "Problem",
  "cases",
  "check_random",
  "linear_memory_cases",
  "memory_growth",
  "oracle",
  "ordinary",
  "quick_cases",
  "strategies",
]
