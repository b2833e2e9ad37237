"""Each sharded attention, in each layout, keeps the contract of `attend`.

By default one case of every second group, the one that asks for most, dealt in
turn to all kinds and layouts; with ``-m slow`` every case for every one.
"""

import itertools

import pytest
from laid_out import KINDS, LAYOUTS, LaidOut, sharded

import attnjax
from attnjax import testing
from attnjax.testing.case import Case
from attnjax.testing.laws import conforms
from attnjax.testing.problem import Problem
from tests.features import richest_of_groups

DENSE = "weights are T x S: attention_weights gives chosen rows of them"
NESTED = "it takes the devices of its mesh, so that no other map may have them"
EXPORTED = "what is exported for one device cannot run on eight"
SKIP = {
  "aux/weights": DENSE,
  "aux/all": DENSE,
  "devices/*": NESTED,
  "transform/export*": EXPORTED,
}
FEW = "its heads do not divide"


def attention(kind, layout, devices=8):
  """Over all devices; over two where two key heads must divide."""
  size = 2 if kind == "ulysses" else devices
  return LaidOut(sharded(kind, layout, sequence=size))


def check(kind, layout, case, devices=8):
  """The case of a sharded attention; key heads are repeated to divide."""
  heads, shared = case.problem.heads, case.problem.shared
  if kind == "ulysses" and shared % 2:
    if heads % 2:
      pytest.skip(FEW)
    case.check(LaidOut(sharded(kind, layout, sequence=2), repeat=2))
  else:
    case.check(attention(kind, layout, devices))


# Laws of a device's own arithmetic, which no division changes.
ALONE = ("plain", "width", "dtype", "numbers", "length", "transform", "vmap")
DEALT = [
  pytest.param(kind, layout, case, id=f"{kind}-{layout}-{case}")
  for (layout, kind), case in zip(
    itertools.cycle(itertools.product(LAYOUTS, KINDS)),
    richest_of_groups(
      case
      for case in testing.cases(skip=SKIP)
      if not case.skip and not case.name.startswith(ALONE)
    )[::2],
    strict=False,
  )
]


@pytest.mark.parametrize(("kind", "layout", "case"), DEALT)
def test_conforms(kind, layout, case):
  # A step of a ring for each device is compiled; those of four are every kind.
  check(kind, layout, case, devices=4)


@pytest.mark.slow
def test_conforms_on_a_mesh_of_rows_heads_and_a_ring():
  problem = Problem(
    batch=(2,),
    heads=4,
    mask=("and", ("or", ("causal",), ("dense", "B H T S")), ("lengths",)),
    bias="B H T S",
    score_mod="softcap then alibi",
    normalizer="sink",
    aux=("logsumexp", "entropy"),
  )
  ring = sharded("ring", "zigzag", batch=2, sequence=2, heads=2)
  Case("rows x ring x heads", conforms, problem).check(LaidOut(ring))


@pytest.mark.slow
@pytest.mark.parametrize("case", testing.cases(skip=SKIP), ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_conforms_in_full(kind, layout, case):
  check(kind, layout, case)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ring", "gather"])
def test_random_calls_conform(kind):
  testing.check_random(attention(kind, "zigzag"), max_examples=25)


@pytest.mark.slow
@pytest.mark.parametrize("case", testing.linear_memory_cases(), ids=str)
def test_memory_grows_linearly(case):
  ring = sharded("ring", "zigzag", sequence=4)
  case.check(LaidOut(ring, engine=attnjax.Blockwise(128, 128)))
