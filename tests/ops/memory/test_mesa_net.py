"""MesaNet: every read is a ridge regression on all that was told before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax import memory
from attnjax.nn import NeuralMemory
from tests.ops.memory.rows import C, D, E, H, Problem, T
from tests.ops.memory.streams import near, quick

RULE = memory.mesa_net(C, penalty=0.7, iterations=12)
WAYS = ("chunked", "sequential")


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


def empty(rule=RULE):
  sizes = {"heads": H, "width": D, "value_width": E}
  return memory.init(rule, (), **sizes, dtype=jnp.float64)


def solved(query, key, value, gates, inverse=np.linalg.inv):
  """Answers ``T H E`` from the definition, a token and a head at a time."""
  answers = []
  for head in range(H):
    of_keys, of_values = np.zeros((D, D)), np.zeros((D, E))
    for t in range(len(key)):
      k, keep = key[t, head], 1 - gates.decay[t, head]
      rate = gates.rate[t, head]
      of_keys = keep * of_keys + rate * k[:, None] * k[None]
      of_values = keep * of_values + rate * k[:, None] * value[t, head][None]
      matrix = inverse(of_keys + 0.7 * np.eye(D)) @ of_values
      answers.append(query[t, head] @ matrix)
  return answers


@pytest.mark.parametrize("way", WAYS)
def test_answers_are_those_of_regressions(way):
  given = Problem(RULE)
  state, answers = memory.stream(empty(), *given.inputs, implementation=way)
  found = np.array(
    solved(given.query, given.key, given.value, given.gates)
  ).reshape(H, T, E)
  near(answers, found.swapaxes(0, 1))
  again = memory.read(state, jnp.asarray(given.query[-1:]))
  near(again, answers[-1:])


def test_gradients_are_those_of_the_solutions():
  given = Problem(RULE, count=5)
  total = lambda answers: sum(jnp.sin(x).sum() for x in answers)
  defined = lambda *x: total(solved(*x, inverse=jnp.linalg.inv))

  def streamed(*x):
    answers = memory.stream(empty(), *x, implementation="chunked")[1]
    return total(answers.swapaxes(0, 1).reshape(-1, E))

  found, expected = (
    quick(jax.grad(f, (0, 1, 2, 3)))(*given.inputs) for f in (streamed, defined)
  )
  near(found, expected, 1e-9)


@pytest.mark.slow
def test_parts_are_the_whole():
  given = Problem(RULE)
  whole = memory.stream(empty(), *given.inputs)
  state, answers = empty(), []
  for start, stop in ((0, 1), (1, 1), (1, 8), (8, T)):
    state, out = memory.stream(state, *given.part(start, stop))
    answers.append(out)
  near((state.weights, jnp.concatenate(answers)), (whole[0].weights, whole[1]))


def test_no_answer_knows_a_later_token():
  given = Problem(RULE)
  query, *told = given.inputs

  def early(key, value, gates):
    return memory.stream(empty(), query, key, value, gates)[1][:4].sum()

  found = quick(jax.grad(early, (0, 1, 2)))(*told)
  for x in jax.tree.leaves(found):
    assert (np.asarray(x)[4:] == 0).all()
    assert (np.asarray(x)[:4] != 0).any()


@pytest.mark.slow
def test_a_layer_reads_a_sequence_as_it_reads_token_by_token():
  layer = NeuralMemory(6, 2, rule=memory.mesa_net(3), rngs=nnx.Rngs(0))
  x = jax.random.normal(jax.random.key(0), (7, 6), jnp.float32)
  whole, _ = layer(x)
  state, parts = None, []
  for t in range(7):
    y, state = layer(x[t : t + 1], state)
    parts.append(y)
  np.testing.assert_allclose(jnp.concatenate(parts), whole, atol=1e-5)
  assert np.abs(whole).max() > 0.01


def test_what_was_never_told_is_answered_with_0():
  assert not memory.read(empty(), jnp.ones((2, H, D))).any()


@pytest.mark.parametrize(
  "choices",
  [
    {"objective": memory.l2()},
    {"objective": memory.negative(memory.dot())},
    {"algorithm": memory.momentum()},
    {"gradients": "chunk"},
    {"retention": memory.decay(), "decayed": True},
    {"retention": memory.l_q()},
    {"window": 2},
  ],
)
def test_a_ridge_that_is_not_of_sums_is_refused(choices):
  with pytest.raises(ValueError, match=r"ridge\(\) solves with sums"):
    memory.Rule(memory.ridge(), **({"objective": memory.dot()} | choices))


@pytest.mark.parametrize(
  ("numbers", "words"),
  [
    ({"penalty": 0.0}, "penalty must be above 0, got 0.0"),
    ({"penalty": float("nan")}, "penalty must be above 0, got nan"),
    ({"iterations": 0}, "iterations must be at least 1, got 0"),
  ],
)
def test_bad_numbers_are_named(numbers, words):
  with pytest.raises(ValueError, match=words):
    memory.ridge(**numbers)
