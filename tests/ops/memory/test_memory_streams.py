"""The chunks are the loop, the loop is its equations, parts are the whole."""

import jax
import numpy as np
import pytest

from attnjax import memory
from tests.ops.memory.rows import LOOPS, ROWS, ROWS_AND_LOOPS
from tests.ops.memory.slowly import slowly
from tests.ops.memory.streams import (
  compiled,
  differentiated,
  near,
  problem,
  quick,
  streamed,
)

# Every way through the code: WY with momentum, at decayed weights and before
# reading; vectors; matrices, windows and links; steps of chunks.
WAYS = (
  "exact, all of it",
  "titans",
  "window, threshold, muon",
  "link, momentum",
  "steps of chunks",
)
SLOW = pytest.mark.slow


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


# Of the kinds of structure, objective and retention; others take longer.
FAST = {"linear_attention", "gated_delta_net", "titans", "memora"}


def quickest(names, fast):
  """The names, most of them marked as slow."""
  return [n if n in fast else pytest.param(n, marks=SLOW) for n in names]


# Of the module: the tests of one row follow one another and share a program.
@pytest.fixture(
  params=quickest(ROWS_AND_LOOPS, {*FAST, *WAYS[1:], "decayed link"}),
  scope="module",
)
def name(request):
  return request.param


def test_the_loop_is_its_equations(name):
  state, answers = streamed(name, "sequential")
  given = problem(name)
  gates = {n: x for n, x in vars(given.gates).items() if x is not None}
  for head in range(2):
    own = lambda x, h=head: x[:, h]
    found, a, s = slowly(
      ROWS_AND_LOOPS[name],
      {n: w[head] for n, w in given.weights.items()},
      *map(own, (given.query, given.key, given.value)),
      {n: own(gate) for n, gate in gates.items()},
      None if given.gain is None else given.gain[head],
    )
    near(answers[:, head], found)
    near({n: w[head] for n, w in state.weights.items()}, a)
    if state.momentum is not None:
      near({n: w[head] for n, w in state.momentum.items()}, s)


def test_chunks_are_the_loop(name):
  if name in LOOPS:
    with pytest.raises(NotImplementedError, match="which computes every rule"):
      streamed(name, "chunked")
  else:
    near(streamed(name, "chunked"), streamed(name, "sequential"))


def test_a_token_at_a_time(name):
  given, answers = problem(name), []
  state = given.init()
  for t in range(10):
    state, answer = compiled()(state, given.part(t, t + 1))
    answers.append(answer)
  expected = streamed(name, "sequential")
  near((state, np.concatenate(answers)), expected)


def test_parts_that_begin_within_a_chunk(name):
  """Where they begin is known at run time only."""
  given = problem(name)
  half, first = compiled()(given.init(), given.part(0, 5))
  state, second = compiled()(half, given.part(5, 10))
  expected = streamed(name, "sequential")
  near((state, np.concatenate([first, second])), expected)


@pytest.mark.parametrize(
  "name", quickest(["window", "steps of chunks, link"], {"window"})
)
def test_parts_whose_beginnings_are_known(name):
  given = problem(name)

  @quick
  def run(weights):
    state, answers, start = given.init(weights), [], 0
    for stop in (0, 2, 3, 4, 10):
      part = given.part(start, stop)
      state, found = memory.stream(state, *part, implementation="chunked")
      answers.append(found)
      start = stop
    return state, jax.numpy.concatenate(answers)

  state, answers = run(given.weights)
  near((state, answers), streamed(name, "sequential"))


@pytest.mark.parametrize("name", quickest(ROWS, ("link, momentum",)))
def test_gradients_of_chunks_are_those_of_the_loop(name):
  """By the initial weights, every input and every gate; of all that comes."""
  (got, gradients), (expected, wanted) = (
    differentiated(name, way) for way in ("chunked", "sequential")
  )
  near(got, expected)

  # Of sin(s(x)), whose gradient is cos(s) s': an input rounded by ε moves s by
  # ε s', and so each gradient by ε s' of itself. In moneta s' is about 1e4, and
  # the two ways differ by 2.8e-12 of the largest.
  steepest = max(abs(x).max(initial=0) for x in jax.tree.leaves(wanted))
  rounding = 8 * np.finfo(np.float64).eps * float(steepest)
  near(gradients, wanted, tolerance=1e-12 + rounding)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_gradients_reach_earlier_calls(name):
  """Two calls have the gradients of one."""
  given = problem(name)

  def scalar(weights, inputs, cut):
    axis = lambda x, a, b: jax.tree.map(lambda y: y[a:b], x)
    state, total = given.init(weights), 0
    for a, b in ((0, cut), (cut, 10)):
      part = axis(inputs, a, b)
      state, out = memory.stream(state, *part, implementation="chunked")
      total += jax.numpy.sin(out).sum()
    return total + jax.numpy.sin(state.weights[next(iter(given.weights))]).sum()

  gradient = jax.grad(scalar, (0, 1))
  run = jax.jit(gradient, static_argnums=2)
  near(*(run(given.weights, given.inputs, cut) for cut in (4, 9)))


def test_writing_is_streaming_without_questions():
  given = problem("window")
  state = quick(memory.write)(given.init(), *given.inputs[1:])
  near(state, streamed("window", "sequential")[0])


def test_reading_is_what_the_next_token_finds():
  """With a rate of 0 a token writes nothing, and nothing is forgotten."""
  given = problem("ttt_mlp")
  state, _ = streamed("ttt_mlp", "sequential")
  query, key, value, gates = given.part(0, 3)
  still = memory.Gates(0 * gates.rate)
  same, answers = compiled()(state, (query, key, value, still))
  near(memory.read(state, query), answers)
  near(same.weights, state.weights)
