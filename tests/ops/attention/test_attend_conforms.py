"""Both implementations of `attend` keep its contract, but for dense memory.

By default one case for each feature, see `tests.features`; with ``-m slow``
every case of the suite.
"""

import dataclasses
import itertools

import pytest

import attnjax
from attnjax import testing
from tests.features import fewest, one_of_each, slow_but


@dataclasses.dataclass(frozen=True)
class Engine:
  """`attend` on the engine, with blocks that cut every length of the suite.

  Args:
    heads: query heads of a tile: "one", those of one "key head", or "all".
  """

  heads: str = "one"

  def __call__(self, query, key, value, **options):
    count = query.shape[-2]
    group = count // max(key.shape[-2], 1)
    heads = {"one": 1, "key head": max(group, 1), "all": max(count, 1)}
    blocks = attnjax.Blockwise(8, 16, heads[self.heads])
    options.setdefault("implementation", blocks)
    return attnjax.attend(query, key, value, **options)


def reference(*arrays, **options):
  return attnjax.attend(*arrays, **options, implementation="reference")


DENSE = "weights are T x S: attend gives them from the reference"
SKIP = {"aux/weights": DENSE, "aux/all": DENSE}
KEPT = fewest(one_of_each(testing.cases()))
CASES = slow_but(testing.cases(), KEPT)
# The laws that only an engine can break, which walks over tiles, and those of
# which the reference is the equation itself.
OF_TILES = ("transform", "devices", "vmap", "dropout", "positions", "batch")
OF_TILES += ("mask", "bias", "local", "jvp", "second", "scoring", "score_mod")
GROWTHS = testing.linear_memory_cases()


ENGINES = [
  pytest.param(Engine(), id="engine"),
  pytest.param(reference, id="ref"),
  # Other cuts of the heads: the cut by one above is the hardest of the three.
  pytest.param(Engine("key head"), id="key_head", marks=pytest.mark.slow),
  pytest.param(Engine("all"), id="all_heads", marks=pytest.mark.slow),
]


def engines_and_cases():
  """Of one case all engines in turn: its truth is computed once."""
  for case, engine in itertools.product(CASES, ENGINES):
    of_tiles = case.id.startswith(OF_TILES) and engine.id == "ref"
    marks = [*case.marks, *engine.marks] + [pytest.mark.slow] * of_tiles
    identity = f"{case.id}-{engine.id}"
    yield pytest.param(*case.values, *engine.values, id=identity, marks=marks)


@pytest.mark.parametrize(("case", "attend"), list(engines_and_cases()))
def test_conforms(case, attend):
  if isinstance(attend, Engine) and str(case) in SKIP:
    pytest.skip(SKIP[str(case)])
  case.check(attend)


@pytest.mark.parametrize("case", slow_but(GROWTHS, one_of_each(GROWTHS)))
def test_memory_grows_linearly(case):
  case.check(attnjax.attend)


@pytest.mark.parametrize(
  "examples", [2, pytest.param(25, marks=pytest.mark.slow)]
)
def test_random_calls_conform(examples):
  testing.check_random(Engine(), max_examples=examples)
