"""Each sharded attention, in each layout, keeps the contract of `attend`.

By default a few cases, none of a kind twice, over all kinds and layouts; with
``-m slow`` every case of the suite for every one of them.
"""

import pytest
from laid_out import KINDS, LAYOUTS, LaidOut, sharded

import attnjax
from attnjax import testing
from attnjax.testing.case import Case
from attnjax.testing.laws import conforms
from attnjax.testing.problem import Problem

QUICK = {
  ("ring", "contiguous"): (
    "segments/packed and causal, traced",
    "jvp/causal with bias and score mod",
  ),
  ("ring", "zigzag"): ("bias/with a score mod and a window", "second/sink"),
  ("ring", "striped"): ("normalizer/top_k", "dropout/as the reference"),
  ("gather", "contiguous"): ("mask/dense, traced",),
  ("gather", "zigzag"): ("second/entropy and max_logit",),
  ("gather", "striped"): ("empty rows/by a bias",),
  ("ulysses", "contiguous"): (
    "scoring/additive with a score mod, bias and sink",
  ),
  ("ulysses", "zigzag"): ("positions/permuted with window, traced",),
  ("ulysses", "striped"): ("normalizer/plus_one",),
}
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


def attention(kind, layout):
  """Over eight devices; over two where two key heads must divide."""
  size = 2 if kind == "ulysses" else 8
  return LaidOut(sharded(kind, layout, sequence=size))


def quick():
  for (kind, layout), names in QUICK.items():
    for case in testing.cases(only=names):
      yield pytest.param(kind, layout, case, id=f"{kind}-{layout}-{case}")


@pytest.mark.parametrize(("kind", "layout", "case"), list(quick()))
def test_conforms(kind, layout, case):
  case.check(attention(kind, layout))


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
  problem = case.problem
  if kind == "ulysses" and problem.shared % 2:
    if problem.heads % 2:
      pytest.skip(FEW)
    repeated = LaidOut(sharded(kind, layout, sequence=2), repeat=2)
    case.check(repeated)
  else:
    case.check(attention(kind, layout))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ring", "gather"])
def test_random_calls_conform(kind):
  testing.check_random(attention(kind, "zigzag"), max_examples=25)


@pytest.mark.slow
@pytest.mark.parametrize("case", testing.linear_memory_cases(), ids=str)
def test_memory_grows_linearly(case):
  ring = sharded("ring", "zigzag", sequence=4)
  case.check(LaidOut(ring, engine=attnjax.Blockwise(128, 128)))
