"""Memories that have a name are what their papers say; limits of others."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import memory
from attnjax.memory import Gates
from tests.ops.memory.rows import Problem, other
from tests.ops.memory.streams import compiled, near, quick

T, D, E = 11, 5, 7


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


@quick
def jitted(state, inputs):
  return memory.stream(state, *inputs)


def run(rule, problem, gates, weights=None):
  """(state, answers) of a rule over the arrays of a problem."""
  given = Problem(rule, count=T)
  state = given.init(weights, gain=problem.gain)
  return jitted(state, (*problem.inputs[:3], gates))


def nothing():
  """The weights of a matrix that knows nothing."""
  return {"map_0": jnp.zeros((2, D, E))}


@pytest.fixture
def given():
  return Problem(memory.titans(), count=T)


def test_a_matrix_with_dot_is_linear_attention(given):
  """Masked attention with the product of query and key for a weight."""
  rate = given.inputs[3].rate
  _, out = run(memory.linear_attention(3), given, Gates(rate), nothing())
  query, key, value = given.inputs[:3]
  weights = jnp.einsum("thd,shd->hts", query, key) * rate.T[:, None]
  expected = jnp.einsum("hts,she->the", jnp.tril(weights), value)
  near(out, expected)


def recurrence(given, decayed):
  """M[t] of one head as the papers write it, values in rows."""
  m, answers = np.zeros((E, D)), []
  for q, k, v, a, b in zip(
    given.query[:, 0],
    given.key[:, 0],
    given.value[:, 0],
    given.gates.decay[:, 0],
    given.gates.rate[:, 0],
    strict=True,
  ):
    m = (
      (1 - a) * m @ (np.eye(D) - b * np.outer(k, k))
      if decayed
      else m @ ((1 - a) * np.eye(D) - b * np.outer(k, k))
    ) + b * np.outer(v, k)
    answers.append(m @ q)
  return np.array(answers)


def test_gated_delta_net_and_titans_differ_by_where_the_gradient_is(given):
  """The paper says they are one; they are where nothing is forgotten."""
  gates = Gates(given.gates.rate, None, given.gates.decay)
  gdn = memory.gated_delta_net(3)
  ours = [run(r, given, gates, nothing())[1] for r in (gdn, at_previous())]
  near(ours[0][:, 0], recurrence(given, True))
  near(ours[1][:, 0], recurrence(given, False))
  assert abs(ours[0] - ours[1]).max() > 0.03
  still = Gates(gates.rate, None, 0 * gates.decay)
  (a, x), (b, y) = (
    run(r, given, still, nothing()) for r in (at_previous(), gdn)
  )
  near((a.weights, x), (b.weights, y), 1e-15)


def at_previous():
  """The delta rule with decay, its gradient where Titans takes it."""
  return other(memory.gated_delta_net(3), decayed=False)


def test_titans_without_momentum_and_decay_is_ttt():
  ttt = memory.ttt_mlp(3, 2)
  titans = other(
    ttt, algorithm=memory.momentum(), retention=memory.decay(), chunk=3
  )
  given = Problem(ttt, count=T)
  rate = given.inputs[3].rate
  plain, answers = run(ttt, given, Gates(rate), given.weights)
  still = Gates(rate, 0 * rate, 0 * rate)
  same, found = run(titans, given, still, given.weights)
  near((same.weights, found), (plain.weights, answers))


@pytest.mark.parametrize("structure", [memory.matrix(), memory.mlp(2, 2)])
def test_a_chunk_of_one_is_a_gradient_at_every_token(structure, given):
  stale = memory.Rule(
    structure,
    memory.l2(),
    memory.decay(),
    memory.momentum(),
    gradients="chunk",
    chunk=1,
  )
  fresh = other(stale, gradients="token")
  (a, x), (b, y) = (run(r, given, given.inputs[3]) for r in (stale, fresh))
  near((a.weights, a.momentum, x), (b.weights, b.momentum, y))


def test_a_step_at_the_end_of_chunks_of_one_is_a_step_at_every_token(given):
  by_token = memory.titans(1, 2, 2)
  by_chunk = other(by_token, updates="chunk")
  (a, x), (b, y) = (
    run(r, given, given.inputs[3]) for r in (by_token, by_chunk)
  )
  near((a.weights, a.momentum, x), (b.weights, b.momentum, y))


def test_a_stale_gradient_is_another_function(given):
  gates = given.inputs[3]
  outs = [run(memory.titans(c, 2, 2), given, gates)[1] for c in (1, 8)]
  assert abs(outs[0] - outs[1]).max() > 0.01


def test_choices_that_are_others_in_disguise(given):
  assert memory.mlp(1, 3) == memory.matrix()
  rate = given.inputs[3].rate
  base = memory.Rule(chunk=3)
  _, expected = run(base, given, Gates(rate), nothing())
  alike = [memory.l_p(2.0), memory.huber(1e3), memory.negative(memory.dot())]
  for objective in alike[:2]:
    rule = other(base, objective=objective)
    near(run(rule, given, Gates(rate), nothing())[1], expected)
  climbing = other(base, objective=alike[2])
  _, up = run(climbing, given, Gates(rate), nothing())
  _, down = run(memory.linear_attention(3), given, Gates(rate), nothing())
  near(up, -down)
  decays = Gates(rate, None, given.inputs[3].decay)
  pair = (
    other(base, retention=memory.decay()),
    other(base, retention=memory.l_q(2.0)),
  )
  near(*(run(r, given, decays, nothing())[1] for r in pair))


def test_polynomial_features_are_the_beginning_of_the_exponential():
  x, y = np.random.default_rng(0).standard_normal((2, 3)) / 2
  phi = memory.polynomial(9)
  got = phi(jnp.asarray(x)) @ phi(jnp.asarray(y))
  np.testing.assert_allclose(got, np.expm1(x @ y), rtol=1e-6)


def test_orthogonalised_steps_have_singular_values_near_one():
  x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 7, 5)))
  found = jnp.linalg.svd(memory.orthogonalized(x), compute_uv=False)
  assert found.min() > 0.6
  assert found.max() < 1.3
  assert (memory.orthogonalized(0 * x) == 0).all()


def test_a_pair_once_written_is_answered_and_can_be_overwritten():
  """A step of rate 1 along a unit key; Hebb's rule answers the sum."""
  key = jnp.zeros((2, 1, D)).at[..., 2].set(1)
  values = jnp.stack([jnp.full((1, E), 3.0), jnp.full((1, E), -4.0)])
  gates = Gates(jnp.ones((2, 1)))
  answers = []
  for rule in (memory.delta_net(), memory.linear_attention()):
    state = memory.init(rule, (), 1, D, value_width=E, dtype=jnp.float64)
    answers.append(compiled()(state, (key, key, values, gates))[1])
  near(answers[0], values)
  near(answers[1], jnp.cumsum(values, 0))


def turned(keys):
  """What a matrix of one column holds after writes at a rate of 2, of value 0.

  Such a write reflects: W - 2 k (k W) = (1 - 2 k k') W.
  """
  state = memory.init(
    memory.delta_net(),
    (),
    1,
    2,
    value_width=1,
    weights={"map_0": jnp.array([[[1.0], [0.0]]])},
    dtype=jnp.float64,
  )
  key = jnp.asarray(keys)[:, None]
  gates = Gates(jnp.full((len(keys), 1), 2.0))
  state = memory.write(state, key, jnp.zeros((len(keys), 1, 1)), gates)
  return np.asarray(state.weights["map_0"][0, :, 0])


@pytest.mark.slow
def test_a_rate_of_two_counts_the_parity_of_tokens():
  """An eigenvalue of -1, which no rate up to 1 has."""
  for count in range(1, 8):
    found = turned([[1.0, 0.0]] * count)
    np.testing.assert_allclose(found, [(-1.0) ** count, 0], atol=1e-15)


@pytest.mark.slow
def test_two_writes_a_token_turn_a_state_in_a_cycle_of_three():
  """Reflections in lines 60 degrees apart are a rotation by 120 degrees."""
  token = [[1.0, 0.0], [math.cos(math.pi / 3), math.sin(math.pi / 3)]]
  for count in range(1, 7):
    found = turned(token * count)
    angle = count * 2 * math.pi / 3
    expected = [math.cos(angle), math.sin(angle)]
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_channels_that_decay_alike_are_a_gated_delta_net(given):
  gates = given.inputs[3]
  scalar = Gates(gates.rate, None, gates.decay)
  spread = jnp.broadcast_to(gates.decay[..., None], given.key.shape)
  weights = nothing()
  (a, x), (b, y) = (
    run(rule(3), given, held, weights)
    for rule, held in (
      (memory.gated_delta_net, scalar),
      (memory.kimi_delta_attention, Gates(gates.rate, None, spread)),
    )
  )
  near((a.weights, x), (b.weights, y))
