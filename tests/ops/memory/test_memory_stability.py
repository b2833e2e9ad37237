"""Where the delta rule converges, and where it does not; what a state costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import memory
from tests.ops.memory.rows import PRESETS, Problem
from tests.ops.memory.streams import quick

D, E = 5, 7


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


@quick
def written(state, key, value, gates):
  return memory.write(state, key, value, gates)


def norm_after(tokens, rate, eta=None):
  """Of the state, after one pair again and again; the key has length 1."""
  algorithm = memory.gradient_descent() if eta is None else memory.momentum()
  rule = memory.Rule(algorithm=algorithm)
  state = memory.init(rule, (), 1, D, value_width=E, dtype=jnp.float64)
  spread = lambda x: jnp.broadcast_to(jnp.asarray(x), (tokens, 1, len(x)))
  numbers = lambda x: None if x is None else jnp.full((tokens, 1), x)
  gates = memory.Gates(numbers(rate), numbers(eta))
  key, value = np.eye(D)[0], np.ones(E) / E**0.5
  return written(state, spread(key), spread(value), gates).norm.item()


@pytest.mark.parametrize("eta", [None, 0.0, 0.5, 0.9])
def test_the_bound_of_the_rate_is_twice_one_plus_momentum(eta):
  """One pair: W' = W + S, S' = η S - θ (W - v); roots within 1 below it."""
  bound = 2 * (1 + (eta or 0))
  # What v has is a norm of 1: the memory has learned it, and nothing more.
  assert abs(norm_after(1000, bound * 0.97, eta) - 1) < 1e-6
  assert norm_after(1000, bound * 1.03, eta) > 1e6


@pytest.mark.parametrize("eta", [0.5, 0.9, 0.99])
def test_dampened_momentum_goes_as_far_as_its_rate(eta):
  """A pair that is told once: plain momentum goes θ / (1 - η), dampened θ."""
  gone = {}
  for dampened in (False, True):
    rule = memory.Rule(
      objective=memory.dot(), algorithm=memory.momentum(dampened=dampened)
    )
    state = memory.init(rule, (), 1, D, value_width=E, dtype=jnp.float64)
    count = 3000  # all but 1e-12 of it has been gone
    key = jnp.zeros((count, 1, D)).at[0].set(np.eye(D)[0])
    value = jnp.ones((count, 1, E)) / E**0.5
    gates = memory.Gates(jnp.full((count, 1), 0.3), jnp.full((count, 1), eta))
    gone[dampened] = written(state, key, value, gates).norm.item()
  assert abs(gone[False] - 0.3 / (1 - eta)) < 1e-9
  assert abs(gone[True] - 0.3) < 1e-9


def test_a_state_that_diverges_is_seen_in_its_norm():
  norms = [norm_after(1000, rate) for rate in (1.9, 2.1, 9.0)]
  assert norms[0] < 1.1
  assert norms[1] > 1e6
  assert not np.isfinite(norm_after(4000, 9.0))


def test_stale_keys_add_up():
  """C gradients at one place are one step C times as long."""
  rule = memory.Rule(gradients="chunk", chunk=8)
  state = memory.init(rule, (), 1, D, value_width=E, dtype=jnp.float64)
  key = jnp.broadcast_to(jnp.eye(D)[0], (400, 1, D))
  value = jnp.ones((400, 1, E))
  size = lambda rate: written(
    state, key, value, memory.Gates(jnp.full((400, 1), rate))
  ).norm.item()
  assert abs(size(1.9 / 8) - E**0.5) < 0.1
  assert size(2.1 / 8) > 10 * E**0.5


@pytest.mark.parametrize("name", PRESETS)
def test_a_state_is_as_large_after_any_number_of_tokens(name):
  given = Problem(PRESETS[name][0])
  shape = lambda n: jax.eval_shape(
    lambda inputs: memory.stream(given.init(), *inputs)[0], given.part(0, n)
  )
  sizes = {shape(n).bytes for n in (0, 1, 2, 5, 10)}
  assert sizes == {given.init().bytes}


def test_bytes_and_norm_are_those_of_what_it_holds():
  given = Problem(PRESETS["linear_attention"][0], lead=(3,))
  state = given.init()
  assert state.bytes == 3 * 2 * D * E * 8 + 4
  expected = np.linalg.norm(given.weights["map_0"], axis=(-2, -1))
  np.testing.assert_allclose(state.norm, np.stack([expected] * 3))
  assert int(state.position) == 0
