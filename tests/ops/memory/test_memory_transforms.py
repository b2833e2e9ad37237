"""The memory takes part in every transform of JAX, and keeps rows apart."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as Spec
from jax.test_util import check_grads

from attnjax import memory
from tests.ops.memory.rows import PRESETS, ROWS, Problem
from tests.ops.memory.streams import near, problem, quick, streamed

# One that steps by WY, one by vectors, both with momentum and decay.
slow = lambda name: pytest.param(name, marks=pytest.mark.slow)
PAIR = ("exact momentum", slow("titans"))


@pytest.fixture(autouse=True)
def x64():
  with jax.enable_x64(True):
    yield


def answers_of(given, implementation=None):
  """weights, inputs -> answers."""

  def answers(weights, inputs):
    state = given.init(weights)
    return memory.stream(state, *inputs, implementation=implementation)[1]

  return answers


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIR)
def test_derivatives_are_those_of_differences(name):
  given = Problem(ROWS[name][0], count=5)
  weights, inputs = given.weights, given.inputs
  # No gate at the end of its range, beyond which it would be another function.
  inside = jax.tree.map(lambda x: jnp.clip(x, 0.1, 0.9), inputs[3])
  inputs = jax.tree.map(jnp.asarray, (*inputs[:3], inside))
  weights = jax.tree.map(jnp.asarray, weights)
  function = jax.jit(answers_of(given, "chunked"))
  check_grads(function, (weights, inputs), 1, modes=("fwd", "rev"), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIR)
def test_forward_over_reverse_is_symmetric(name):
  """u · H v = v · H u, of a scalar of the answers."""
  given = problem(name)
  answers = answers_of(given, "chunked")
  scalar = lambda x: jnp.sin(answers(given.weights, x)).sum()
  rng = np.random.default_rng(0)
  u, v = (
    jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), given.inputs)
    for _ in range(2)
  )
  product = quick(
    lambda x, way: jax.jvp(jax.grad(scalar), (x,), (way,))[1],
  )
  along = lambda a, b: sum(
    jnp.vdot(x, y)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )
  hu, hv = (product(given.inputs, way) for way in (u, v))
  assert abs(along(u, hv)) > 1e-3
  np.testing.assert_allclose(along(u, hv), along(v, hu), rtol=1e-9)


@pytest.mark.parametrize("name", ["titans", "lact"])
def test_a_scan_over_segments_is_one_call(name):
  """The state is a carry: its structure, shapes and dtypes stay."""
  given = problem(name)
  segments = jax.tree.map(lambda x: x.reshape(2, 5, *x.shape[1:]), given.inputs)

  @quick
  def run(weights):
    step = lambda state, part: memory.stream(state, *part)
    return jax.lax.scan(jax.checkpoint(step), given.init(weights), segments)

  state, answers = run(given.weights)
  near((state, answers.reshape(10, 2, -1)), streamed(name, "sequential"))


def test_a_step_may_reuse_the_memory_of_its_state():
  """No two fields of a state are one buffer, so it can be donated."""
  for name in ("titans", "lact"):
    given = problem(name)
    step = jax.jit(lambda s, x: memory.stream(s, *x), donate_argnums=0)
    state, _ = step(given.init(), given.part(0, 1))
    state, _ = step(state, given.part(1, 2))
    assert int(state.position) == 2


@pytest.mark.parametrize("name", PAIR)
def test_it_survives_export(name):
  given = problem(name)
  flat, tree = jax.tree.flatten((given.weights, given.inputs))
  function = jax.jit(
    lambda *x: answers_of(given, "chunked")(*jax.tree.unflatten(tree, x))
  )
  exported = jax.export.export(function)(*flat)
  near(exported.call(*flat), streamed(name, "chunked")[1])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["chunked", "sequential"])
@pytest.mark.parametrize("name", ["titans", "window", "lact"])
def test_sharded_over_the_batch_it_is_the_same(name, way):
  """The state begins as a constant inside, and comes out varying.

  What a gradient is taken by has to vary too: else it is summed over devices.
  """
  given = Problem(ROWS[name][0], lead=(2,), count=5)
  one = Problem(given.rule, lead=(1,))
  mesh = Mesh(np.array(jax.devices()[:2]), ("devices",))

  def loss(weights, inputs):
    stream = lambda w, x: memory.stream(one.init(w), *x, implementation=way)
    divided = jax.shard_map(
      lambda w, x: stream(w, x)[1],
      mesh=mesh,
      in_specs=(Spec(), Spec("devices")),
      out_specs=Spec("devices"),
    )
    out = divided(weights, inputs)
    return jnp.sin(out).sum(), out

  def whole(weights, inputs):
    state = given.init(weights)
    out = memory.stream(state, *inputs, implementation=way)[1]
    return jnp.sin(out).sum(), out

  derive = lambda f: quick(jax.grad(f, (0, 1), has_aux=True))
  weights = jax.tree.map(jnp.asarray, given.weights)
  near(*(derive(f)(weights, given.inputs) for f in (loss, whole)))


@pytest.mark.parametrize("name", ["titans", slow("window"), slow("lact")])
def test_rows_and_heads_do_not_meet(name):
  """Two batch axes, by themselves or by vmap, are calls of their own."""
  given = Problem(ROWS[name][0], lead=(3, 2), count=5)
  state, answers = quick(lambda x: memory.stream(given.init(), *x))(
    given.inputs
  )
  one = Problem(given.rule, count=5)
  alone = quick(lambda w, x: memory.stream(one.init(w), *x))
  row = jax.tree.map(lambda x: x[2, 1], given.inputs)
  own, found = alone(given.weights, row)
  near(answers[2, 1], found)
  near(jax.tree.map(lambda w: w[2, 1], state.weights), own.weights)
  mapped = jax.vmap(jax.vmap(alone, (None, 0)), (None, 0))
  again, found = mapped(given.weights, given.inputs)
  near((again.weights, found), (state.weights, answers))
  # Heads: what one is given changes, and the other says the same.
  changed = jax.tree.map(lambda x: x.at[:, 1].set(0.5), row)
  near(alone(given.weights, changed)[1][:, 0], answers[2, 1, :, 0])


@pytest.mark.parametrize("name", PRESETS)
def test_a_rule_is_compiled_once(name):
  """Rules are equal by value: making one anew makes no new program."""

  @jax.jit
  @chex.assert_max_traces(n=1)
  def step(state):
    return state

  step(problem(name).init())
  step(Problem(PRESETS[name][0]).init())
