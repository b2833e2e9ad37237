"""The reference implementation keeps the whole contract, but for memory."""

import pytest

import attnjax
from attnjax import testing


def reference(*arrays, **options):
  return attnjax.attend(*arrays, **options, implementation="reference")


@pytest.mark.parametrize("case", testing.cases(), ids=str)
def test_conforms(case):
  case.check(reference)
