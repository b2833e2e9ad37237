"""What is saved comes back: bits, structure, placement, retention, errors."""

import dataclasses
import os
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from attnjax.training import step_directories
from attnjax.training.checkpoint import CheckpointConfig, Checkpoints

EVERYTHING = CheckpointConfig(keep_last=100)


class Network(nnx.Module):
  """A module with a nested list of modules, as models have."""

  def __init__(self, vocabulary: int, *, rngs: nnx.Rngs):
    self.embed = nnx.Embed(vocabulary, 5, rngs=rngs)
    self.layers = nnx.List([nnx.Linear(5, 5, rngs=rngs) for _ in range(2)])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  """A training state: a registered dataclass of a module and Optax states."""

  step: Any
  params: Any
  opt_state: Any
  key: Any


def make_state(seed=0, *, vocabulary=11, optimizer=None) -> State:
  """A state as training has it, with moments that are not all zero."""
  optimizer = optimizer or optax.adamw(1e-3)
  params = Network(vocabulary, rngs=nnx.Rngs(seed))
  with jax.numpy_dtype_promotion("standard"):
    opt_state = optimizer.init(params)
    gradient = jax.tree.map(lambda x: x * 0.5 + 1, params)
    _, opt_state = optimizer.update(gradient, opt_state, params)
  key = jax.random.key(seed + 1)
  return State(jnp.int32(seed), params, opt_state, key)


def bits(tree):
  """Every leaf as bytes, so that equal means equal bit for bit."""
  leaves = jax.tree.leaves(tree)
  leaves = [
    jax.random.key_data(x)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    else x
    for x in leaves
  ]
  return [(x.shape, str(x.dtype), np.asarray(x).tobytes()) for x in leaves]


def abstract(tree):
  """The tree of shapes, without shardings."""
  return jax.eval_shape(lambda: tree)


def save_all(directory, states, config=EVERYTHING, metrics=None):
  """Saves step -> state, and closes."""
  with Checkpoints(directory, config) as checkpoints:
    for step, state in states.items():
      checkpoints.save(step, state, metric=(metrics or {}).get(step))


def names(directory):
  """What lies in a directory."""
  return sorted(path.name for path in directory.iterdir())


def test_nothing_saved_is_nothing_restored(tmp_path):
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    assert checkpoints.restore({"a": np.ones(3)}) is None
    assert checkpoints.steps() == []
    assert checkpoints.best() is None


def test_a_fresh_manager_resumes_bit_for_bit(tmp_path):
  state = make_state(3)
  save_all(tmp_path, {1: make_state(1), 3: state})
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    restored = checkpoints.restore(abstract(state))
    assert checkpoints.steps() == [1, 3]
  assert restored.step == 3
  assert restored.skipped == ()
  assert bits(restored.state) == bits(state)
  assert jax.tree.structure(restored.state) == jax.tree.structure(state)
  assert type(restored.state.params) is Network
  assert type(restored.state.opt_state[0]) is type(state.opt_state[0])


def test_restored_in_the_same_manager_while_the_save_runs(tmp_path):
  state = make_state()
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    checkpoints.save(2, state)
    assert checkpoints.steps() == [2]
    assert bits(checkpoints.restore(state).state) == bits(state)


def test_training_goes_on_as_if_unbroken(tmp_path):
  optimizer = optax.adamw(1e-2)

  @jax.jit
  def step(state):
    with jax.numpy_dtype_promotion("standard"):
      gradient = jax.tree.map(jnp.cos, state.params)
      update, opt_state = optimizer.update(
        gradient, state.opt_state, state.params
      )
      params = optax.apply_updates(state.params, update)
    return State(state.step + 1, params, opt_state, state.key)

  state = step(make_state())
  save_all(tmp_path, {1: state})
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    restored = checkpoints.restore(abstract(state)).state
  for _ in range(3):
    state, restored = step(state), step(restored)
  assert bits(restored) == bits(state)
  assert step._cache_size() == 1  # a restored state is no other type


def test_a_relative_directory_is_resolved(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  save_all("runs/one", {1: {"a": np.ones(3)}})
  assert names(tmp_path / "runs" / "one") == ["1"]


@pytest.mark.parametrize("path", ["file", "file/below", "gs://bucket/run"])
def test_a_directory_that_cannot_be_is_one_clear_line(
  tmp_path, monkeypatch, path
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "file").write_text("x")
  with pytest.raises(ValueError, match=r"^directory.*[^\n]*$"):
    Checkpoints(path, EVERYTHING)


@pytest.mark.parametrize("field", ["every_steps", "keep_last"])
def test_the_config_is_checked(field):
  with pytest.raises(ValueError, match=f"{field} must be at least 1, got 0"):
    CheckpointConfig(**{field: 0})


# Leaves


@pytest.mark.parametrize(
  "dtype",
  ["float32", "bfloat16", "float16", "int8", "uint32", "bool", "float8_e4m3fn"],
)
def test_every_dtype_keeps_its_bits(tmp_path, dtype):
  state = {"x": jnp.arange(7).astype(dtype), "n": jnp.zeros((), dtype)}
  save_all(tmp_path, {1: state})
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    assert bits(checkpoints.restore(state).state) == bits(state)


def test_special_values_keep_their_bits(tmp_path):
  patterns = np.array(
    [0x7FC00001, 0xFFC12345, 0x80000000, 1, 0x7F800000], np.uint32
  )
  state = {"x": jnp.asarray(patterns.view(np.float32))}
  save_all(tmp_path, {1: state})
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    assert bits(checkpoints.restore(state).state) == bits(state)


def test_numpy_and_numbers_stay_what_they_are(tmp_path):
  state = {
    "a": np.arange(3, dtype=np.int64),
    "b": np.float32(0.5),
    "c": 3,
    "d": 2.5,
    "e": True,
  }
  like = {"a": np.zeros(3, np.int64), "b": np.float32(0), "c": 0, "d": 0.0}
  save_all(tmp_path, {1: state})
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    restored = checkpoints.restore(like | {"e": False}).state
  assert {k: type(v) for k, v in restored.items()} == {
    k: type(v) for k, v in state.items()
  }
  chex.assert_trees_all_equal(restored, state)


def test_empty_leaves_and_none_come_back(tmp_path):
  state = {"a": jnp.zeros((0, 3)), "b": None, "c": jnp.ones(2), "d": ()}
  save_all(tmp_path, {1: state})
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    restored = checkpoints.restore(state).state
  assert restored["a"].shape == (0, 3)
  assert restored["b"] is None
  assert restored["d"] == ()


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_typed_keys_come_back_as_keys(tmp_path, impl):
  state = {
    "one": jax.random.key(7, impl=impl),
    "many": jax.random.split(jax.random.key(8, impl=impl), 3),
  }
  save_all(tmp_path, {1: state})
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    for like in (state, abstract(state)):
      restored = checkpoints.restore(like).state
      assert restored["one"].dtype == state["one"].dtype
      chex.assert_trees_all_equal(
        jax.random.normal(restored["one"], (5,)),
        jax.random.normal(state["one"], (5,)),
      )
      assert bits(restored) == bits(state)


def test_keys_of_another_implementation_do_not_fit(tmp_path):
  save_all(tmp_path, {1: {"k": jax.random.key(0)}})
  with (
    Checkpoints(tmp_path, EVERYTHING) as checkpoints,
    pytest.raises(ValueError, match=r"\(\) key<fry> .* \(\) key<rbg>"),
  ):
    checkpoints.restore({"k": jax.random.key(0, impl="rbg")})


@pytest.mark.parametrize("leaf", ["text", object(), np.array("text")])
def test_a_leaf_that_is_no_array_is_named(tmp_path, leaf):
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    with pytest.raises(ValueError, match=r"state: leaf \['a'\]\[1\] is a "):
      checkpoints.save(1, {"a": [jnp.ones(2), leaf]})
    checkpoints.save(1, {"a": jnp.ones(2)})  # nothing is stuck
  assert names(tmp_path) == ["1"]


def test_shapes_without_values_and_donated_arrays_are_refused(tmp_path):
  gone = jnp.ones(3)
  gone.delete()
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    with pytest.raises(ValueError, match=r"leaf \['a'\] is a ShapeDtypeStruct"):
      checkpoints.save(1, {"a": jax.ShapeDtypeStruct((3,), np.float32)})
    with pytest.raises(ValueError, match=r"leaf \['a'\] is a deleted array"):
      checkpoints.save(1, {"a": gone})
    with pytest.raises(ValueError, match="state: expected a leaf"):
      checkpoints.save(1, {"a": None})
    with pytest.raises(ValueError, match="step: expected 0 or more, got -1"):
      checkpoints.save(-1, {"a": np.ones(3)})


# Placement


def _mesh(*shape):
  devices = np.array(jax.devices()[: int(np.prod(shape))]).reshape(shape)
  return jax.sharding.Mesh(devices, ("data", "model"))


def test_leaves_take_the_sharding_that_is_asked_for(tmp_path):
  table = jnp.arange(8 * 6, dtype=jnp.float32).reshape(8, 6)
  keys = jax.random.split(jax.random.key(0), 8)
  saved = NamedSharding(_mesh(4, 2), PartitionSpec("data", "model"))
  state = {"table": jax.device_put(table, saved), "keys": keys}
  save_all(tmp_path, {1: state})
  asked = NamedSharding(_mesh(2, 3), PartitionSpec("model", None))
  rows = NamedSharding(_mesh(2, 1), PartitionSpec("data"))
  like = {
    "table": jax.ShapeDtypeStruct((8, 6), np.float32, sharding=rows),
    "keys": jax.ShapeDtypeStruct((8,), keys.dtype, sharding=rows),
  }
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    restored = checkpoints.restore(like).state
    assert restored["table"].sharding == rows
    assert restored["keys"].sharding == rows
    assert bits(restored) == bits({"table": table, "keys": keys})
    like = {"table": jax.device_put(table.T, asked).T, "keys": keys}
    restored = checkpoints.restore(like).state
    assert restored["table"].sharding == like["table"].sharding
    assert bits(restored) == bits({"table": table, "keys": keys})


def test_a_leaf_without_a_sharding_may_go_anywhere(tmp_path):
  # A restored array pinned to one device could not meet a sharded batch.
  state = {"w": jnp.ones((8, 3))}
  save_all(tmp_path, {1: state})
  batch = jax.device_put(
    jnp.ones((8, 3)), NamedSharding(_mesh(8, 1), PartitionSpec("data"))
  )
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    for like in (state, abstract(state)):
      restored = checkpoints.restore(like).state
      assert not restored["w"].committed
      assert float(jax.jit(lambda w, b: (w * b).sum())(restored["w"], batch))


# Donation


@pytest.mark.parametrize(
  "size", [7, 100_003, pytest.param(3_000_017, marks=pytest.mark.slow)]
)
def test_donated_right_after_save_is_saved_as_it_was(tmp_path, size):
  @jax.jit
  def make(seed):
    keys = jax.random.split(jax.random.key(seed), 3)
    return [jax.random.normal(key, (size,)) for key in keys]

  overwrite = jax.jit(
    lambda xs: [x * 0 - 1 for x in xs], donate_argnums=0, keep_unused=True
  )
  jax.block_until_ready(overwrite(make(99)))  # compiled: nothing delays it
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    for step in range(3):
      state = jax.block_until_ready(make(step))
      checkpoints.save(step, state)
      jax.block_until_ready(overwrite(state))
      del state
      like = [np.zeros(size, np.float32)] * 3
      assert bits(checkpoints.restore(like).state) == bits(make(step))


def test_numpy_may_be_overwritten_right_after_save(tmp_path):
  state = {"a": np.ones(1_000_003, np.float32)}
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    checkpoints.save(1, state)
    state["a"][:] = -1
    assert (checkpoints.restore(state).state["a"] == 1).all()


def test_a_restored_state_may_be_donated(tmp_path):
  state = {"a": jnp.ones(1009)}
  save_all(tmp_path, {1: state})
  bump = jax.jit(lambda s: {"a": s["a"] + 1}, donate_argnums=0)
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    for _ in range(3):
      bumped = bump(bump(checkpoints.restore(state).state))
      assert float(bumped["a"].min()) == float(bumped["a"].max()) == 3


# Retention


def test_the_last_and_the_best_are_kept(tmp_path):
  metrics = {1: 5.0, 2: 1.0, 3: 4.0, 4: None, 5: 3.0, 6: 2.0}
  config = CheckpointConfig(keep_last=2)
  with Checkpoints(tmp_path, config) as checkpoints:
    for step, metric in metrics.items():
      checkpoints.save(step, {"a": np.float32(step)}, metric=metric)
      checkpoints.wait()
      assert checkpoints.best() == (1 if step == 1 else 2)
    assert checkpoints.steps() == [2, 5, 6]
  assert names(tmp_path) == ["2", "5", "6"]
  with Checkpoints(tmp_path, config) as checkpoints:  # the metrics are read
    assert checkpoints.best() == 2
    checkpoints.save(7, {"a": np.float32(7)}, metric=0.5)
    assert checkpoints.best() == 7
  assert names(tmp_path) == ["6", "7"]


def test_without_keep_best_only_the_last_are_kept(tmp_path):
  config = CheckpointConfig(keep_last=1, keep_best=False)
  states = {step: {"a": np.float32(step)} for step in (1, 2, 3)}
  save_all(tmp_path, states, config, {1: 0.0, 2: 1.0, 3: 2.0})
  assert names(tmp_path) == ["3"]


def test_no_metric_and_nan_are_never_best(tmp_path):
  config = CheckpointConfig(keep_last=1)
  states = {step: {"a": np.float32(step)} for step in (1, 2, 3, 4)}
  metrics = {1: float("nan"), 2: 9.0, 3: None, 4: float("-inf")}
  save_all(tmp_path, states, config, metrics)
  assert names(tmp_path) == ["2", "4"]


# The same step again


def test_a_step_saved_again_is_replaced(tmp_path):
  config = CheckpointConfig(keep_last=1)
  with Checkpoints(tmp_path, config) as checkpoints:
    checkpoints.save(3, {"a": np.float32(1)})
    checkpoints.save(3, {"a": np.float32(2)}, metric=0.5)
    assert checkpoints.best() == 3
    assert checkpoints.restore({"a": np.float32(0)}).state == {"a": 2}
  assert names(tmp_path) == ["3"]


def test_a_replacement_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
  save_all(tmp_path, {3: {"a": np.float32(1)}})

  def full(*_, **__):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(step_directories, "seal", full)
  with pytest.raises(OSError, match="No space left"):
    save_all(tmp_path, {3: {"a": np.float32(2)}})
  monkeypatch.undo()
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    assert checkpoints.restore({"a": np.float32(0)}).state == {"a": 1}
  assert names(tmp_path) == ["3"]


def test_a_save_that_fails_is_raised_and_costs_no_older_step(
  tmp_path, monkeypatch
):
  config = CheckpointConfig(keep_last=1)
  with Checkpoints(tmp_path, config) as checkpoints:
    checkpoints.save(1, {"a": np.float32(1)})
    checkpoints.wait()

    def full(*_, **__):
      raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
      patch.setattr(step_directories, "seal", full)
      checkpoints.save(2, {"a": np.float32(2)})
      with pytest.raises(OSError, match="No space left"):
        checkpoints.wait()
    assert "1" in names(tmp_path)
    assert "2" not in names(tmp_path)
    checkpoints.save(3, {"a": np.float32(3)})
    assert checkpoints.restore({"a": np.float32(0)}).step == 3


# What does not fit


@pytest.fixture
def saved(tmp_path):
  """A directory with a real state at steps 100 and 200."""
  save_all(tmp_path, {100: make_state(1), 200: make_state(2)})
  return tmp_path


def _refused(directory, like, match):
  before = {
    path: path.read_bytes() for path in directory.rglob("*") if path.is_file()
  }
  with Checkpoints(directory, EVERYTHING) as checkpoints:
    with pytest.raises(ValueError, match=match) as error:
      checkpoints.restore(like)
    assert checkpoints.steps() == [100, 200]
  message = str(error.value)
  assert str(directory / "200") in message
  assert "another --workdir" in message
  assert "\n" not in message
  after = {
    path: path.read_bytes() for path in directory.rglob("*") if path.is_file()
  }
  assert before == after


def test_another_vocabulary_is_named(saved):
  like = abstract(make_state(vocabulary=13))
  _refused(
    saved,
    like,
    r"leaf \S*embed.embedding\S* is \(11, 5\) float32 in the checkpoint and "
    r"\(13, 5\) float32 in the state asked for \(2 more leaves differ\)",
  )


def test_a_leaf_that_is_missing_is_named(saved):
  state = make_state()
  extra = {"one": state.key, "two": jax.ShapeDtypeStruct((3,), np.float32)}
  _refused(
    saved,
    dataclasses.replace(abstract(state), key=extra),
    r"leaf \.key \(\) key<fry> is in the checkpoint and not in the state",
  )
  like = dataclasses.replace(abstract(state), params=[state.params, np.ones(3)])
  _refused(saved, like, "is in the .* and not in the")


def test_another_optimizer_is_named(saved):
  like = abstract(make_state(optimizer=optax.sgd(0.1)))
  _refused(saved, like, r"leaf \.opt_state.* is in the checkpoint and not in")


def test_another_dtype_is_named(saved):
  like = abstract(make_state())
  like = dataclasses.replace(like, step=jax.ShapeDtypeStruct((), np.uint32))
  _refused(saved, like, r"leaf \.step is \(\) int32 .* and \(\) uint32 in")


# What killed saves leave behind


def test_uncommitted_directories_are_removed_at_the_start(tmp_path):
  save_all(tmp_path, {1: {"a": np.float32(1)}})
  leftover = tmp_path / "2.orbax-checkpoint-tmp" / "state"
  leftover.mkdir(parents=True)
  (leftover / "data").write_text("half")
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    assert names(tmp_path) == ["1"]
    assert checkpoints.restore({"a": np.float32(0)}).step == 1
    checkpoints.save(2, {"a": np.float32(2)})
  assert names(tmp_path) == ["1", "2"]


@pytest.mark.parametrize("finished", [False, True])
def test_a_kill_while_a_step_was_replaced(tmp_path, finished):
  save_all(tmp_path, {3: {"a": np.float32(1)}})
  os.rename(tmp_path / "3", tmp_path / "3.replaced")
  if finished:
    os.rename(tmp_path / "3.replaced", tmp_path / "aside")
    save_all(tmp_path, {3: {"a": np.float32(2)}})
    os.rename(tmp_path / "aside", tmp_path / "3.replaced")
  with Checkpoints(tmp_path, EVERYTHING) as checkpoints:
    restored = checkpoints.restore({"a": np.float32(0)})
  assert restored.state == {"a": 2 if finished else 1}
  assert names(tmp_path) == ["3"]


def test_closing_twice_is_closing(tmp_path):
  checkpoints = Checkpoints(tmp_path, EVERYTHING)
  checkpoints.save(1, {"a": np.ones(3)})
  checkpoints.close()
  checkpoints.close()
  assert names(tmp_path) == ["1"]
