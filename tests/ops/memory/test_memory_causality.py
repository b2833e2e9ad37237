"""No answer depends on a later token: every such derivative is exactly 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import memory
from tests.ops.memory.rows import PRESETS, ROWS_AND_LOOPS, Problem, other
from tests.ops.memory.streams import quick

T = 10


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


HEAVY = ("atlas", "lact", "memora", "moneta")  # to compile


def reach(rule, cuts, mode="forward"):
  """[i, j]: how much answer i moves as everything of token j does."""
  given = Problem(rule, count=T)
  ends = (*cuts, T)

  def answers(inputs):
    state, found = given.init(), []
    for start, stop in zip((0, *cuts), ends, strict=True):
      part = jax.tree.map(lambda x, a=start, b=stop: x[a:b], inputs)
      state, out = memory.stream(state, *part)
      found.append(out)
    return jnp.concatenate(found)

  inputs = given.inputs
  if mode == "forward":
    return quick(lambda x: moved(answers, x))(inputs)
  # Features are weighted: those of a residual structure are normalized, so that
  # their plain sum is a constant whose gradient is rounding at most.
  weight = np.random.default_rng(2).uniform(1, 2, given.value.shape[1:])
  total = lambda x: jnp.einsum("the,he->t", answers(x), weight)
  changes = quick(jax.jacrev(total))(inputs)
  flat = [abs(c).reshape(T, T, -1).sum(-1) for c in jax.tree.leaves(changes)]
  return sum(flat)


def moved(answers, inputs):
  """Derivatives along a direction in which all numbers of a token change."""
  rng = np.random.default_rng(1)
  direction = jax.tree.map(
    lambda x: jnp.asarray(rng.uniform(1, 2, x.shape)), inputs
  )

  def along(j):
    only = (jnp.arange(T) == j).astype(jnp.float64)
    tangent = jax.tree.map(
      lambda x: x * only.reshape((T,) + (1,) * (x.ndim - 1)), direction
    )
    return jax.jvp(answers, (inputs,), (tangent,))[1]

  return abs(jax.vmap(along)(jnp.arange(T))).sum((2, 3)).T


def assert_causal(found):
  """Nothing from later; something from each token's own, at the least."""
  found = np.asarray(found)
  assert np.isfinite(found).all()
  assert (np.triu(found, 1) == 0).all()
  assert (np.diag(found) > 0).all()
  assert (found[-1] > 0).sum() > 2


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name
    for name in PRESETS
  ],
)
def test_no_answer_depends_on_a_later_token(name):
  """A chunk of 3 does not divide 4, nor 10, and a call begins within one."""
  assert_causal(reach(PRESETS[name][0], (4,)))


@pytest.mark.parametrize("name", ["gated_delta_net", "titans"])
def test_nor_where_chunks_divide_the_length(name):
  assert_causal(reach(other(PRESETS[name][0], chunk=5), ()))


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 5, 7])
@pytest.mark.parametrize("name", ROWS_AND_LOOPS)
def test_by_gradients_at_every_size_of_a_chunk(name, chunk):
  rule = other(ROWS_AND_LOOPS[name][0], chunk=chunk)
  assert_causal(reach(rule, (4, 5), "backward"))
