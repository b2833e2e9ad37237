"""The engine passes the conformance suite, in tiles too small for one block."""

import dataclasses

import pytest

import attnjax
from attnjax import testing


@dataclasses.dataclass(frozen=True)
class Engine:
  """`attend` on the engine, with blocks that cut every length of the suite."""

  def __call__(self, query, key, value, **options):
    options.setdefault("implementation", attnjax.Blockwise(8, 16))
    return attnjax.attend(query, key, value, **options)


DENSE = "weights are T x S: attend gives them from the reference"
SKIP = {"aux/weights": DENSE, "aux/all": DENSE}


@pytest.mark.parametrize("case", testing.cases(skip=SKIP), ids=str)
def test_conforms(case):
  case.check(Engine())


@pytest.mark.parametrize("case", testing.linear_memory_cases(), ids=str)
def test_memory_grows_linearly(case):
  case.check(attnjax.attend)


def test_random_calls_conform():
  testing.check_random(Engine(), max_examples=25)
