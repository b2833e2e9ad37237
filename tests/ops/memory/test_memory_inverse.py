"""The inverse behind the exact chunks: a law, and no solver that waits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import memory
from attnjax.ops.memory.token_gradients import unit_inverse
from tests.few import few


@pytest.mark.parametrize("count", few([1, 2, 3, 7, 16, 37, 64], 1, 7, 16))
def test_it_undoes_what_it_inverts(count):
  drawn = np.random.default_rng(count).standard_normal((count, count))
  below = np.tril(0.3 * drawn, -1).astype(np.float32)
  found = unit_inverse(jnp.asarray(below)) @ (np.eye(count) + below)
  np.testing.assert_allclose(found, np.eye(count), atol=1e-5)


def test_equal_keys_lose_no_digit():
  # Powers of this matrix have entries of 1e18, its inverse of 1.
  below = jnp.tril(jnp.ones((64, 64)), -1)
  found = np.asarray(unit_inverse(below))
  expected = np.eye(64) - np.eye(64, k=-1)
  np.testing.assert_array_equal(found, expected)


def test_no_call_of_lapack_is_in_the_program():
  # Two at once wait for each other's threads on a machine of two cores.
  rule = memory.gated_delta_net(chunk=4)
  x, gate = jnp.ones((3, 7, 2, 5)), np.full((3, 7, 2), 0.5, np.float32)

  def out(x):
    state = memory.init(rule, (3,), heads=2, width=5)
    gates = memory.Gates(rate=gate, decay=gate)
    return memory.stream(state, x, x, x, gates)[1].sum()

  program = str(jax.make_jaxpr(jax.grad(out))(x))
  assert "triangular_solve" not in program
