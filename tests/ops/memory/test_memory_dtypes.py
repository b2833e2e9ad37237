"""Dtypes, and lengths and batches of nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import memory
from tests.few import few
from tests.ops.memory.rows import PRESETS, ROWS, Problem
from tests.ops.memory.streams import quick

# What bf16 keeps of a number, times what a sequence of 10 makes of it.
BUDGET = 8 * 2.0**-8
STEADY = ("gated_delta_net", "titans", "yaad")


def cast(tree, dtype):
  return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


@pytest.mark.parametrize("name", few(STEADY, "titans"))
def test_low_precision_stays_near_float64(name):
  given = Problem(PRESETS[name][0])
  run = quick(lambda s, x: memory.stream(s, *x))
  low = cast(given.inputs, jnp.bfloat16)
  state, out = run(given.init(dtype=jnp.float32), low)
  assert out.dtype == jnp.bfloat16
  assert {x.dtype for x in jax.tree.leaves(state.weights)} == {
    jnp.dtype(jnp.float32)
  }
  with jax.enable_x64(True):
    # The numbers that bf16 holds, so that only the computing differs.
    exact = cast(low, jnp.float64)
    expected = np.asarray(run(given.init(dtype=jnp.float64), exact)[1])
    size = max(1, abs(expected).max())
  np.testing.assert_allclose(
    np.asarray(out, np.float64), expected, rtol=0, atol=2.0**-8 * size
  )
  full = run(given.init(dtype=jnp.float32), cast(low, jnp.float32))[1]
  np.testing.assert_allclose(full, expected, rtol=0, atol=3e-6 * size)


@pytest.mark.parametrize("name", ["gated_delta_net", "titans"])
def test_a_state_may_be_held_in_bfloat16(name):
  """It is raised while a call computes, and lowered when it ends."""
  given = Problem(PRESETS[name][0])
  run = quick(lambda s, x: memory.stream(s, *x))
  low = cast(given.inputs, jnp.bfloat16)
  state, out = run(given.init(dtype=jnp.bfloat16), low)
  assert state.bytes < 0.6 * given.init(dtype=jnp.float32).bytes
  expected = run(given.init(dtype=jnp.float32), cast(low, jnp.float32))[1]
  difference = abs(np.asarray(out, np.float32) - expected).max()
  assert difference < BUDGET * max(1, abs(expected).max())


@pytest.mark.parametrize("name", ["gated_delta_net", "window", "lact"])
@pytest.mark.parametrize("way", [None, "chunked", "sequential"])
def test_a_sequence_of_nothing_changes_nothing(name, way):
  given = Problem(ROWS[name][0], lead=(3,))
  state = given.init(dtype=jnp.float32)
  nothing = jax.tree.map(lambda x: x[:, :0], given.inputs)
  new, out = memory.stream(state, *nothing, implementation=way)
  assert out.shape == (3, 0, 2, given.width)
  assert int(new.position) == 0
  for x, y in zip(jax.tree.leaves(new), jax.tree.leaves(state), strict=True):
    np.testing.assert_array_equal(x, y)
  assert memory.read(state, nothing[0]).shape == out.shape


def test_one_token_is_a_sequence():
  given = Problem(ROWS["window"][0])
  outs = [
    quick(lambda s, x, w=way: memory.stream(s, *x, implementation=w)[1])(
      given.init(dtype=jnp.float32), given.part(0, 1)
    )
    for way in ("chunked", "sequential")
  ]
  np.testing.assert_allclose(*outs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("way", ["chunked", "sequential"])
def test_a_batch_of_nobody_reads_on(way):
  given = Problem(ROWS["titans"][0], lead=(0,), count=5)
  state = given.init(dtype=jnp.float32)
  new, out = memory.stream(state, *given.inputs, implementation=way)
  assert out.shape == (0, 5, 2, given.width)
  assert int(new.position) == 5
  assert memory.read(new, given.inputs[0]).shape == out.shape


def test_a_read_does_not_depend_on_the_order_of_names():
  """A pytree puts names in order: the last map is not the last name."""
  given = Problem(PRESETS["lact"][0])
  state = jax.tree.map(lambda x: x, given.init(dtype=jnp.float32))
  assert list(state.weights)[-1] != "down"
  found = memory.read(state, given.inputs[0])
  assert found.shape == (10, 2, given.width)
