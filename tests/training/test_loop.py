"""The loop's laws: order of dispatch, exact resuming, stops, bad numbers."""

import contextlib
import signal
import threading
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attnjax import config as configs
from attnjax.runs import TrainConfig
from attnjax.training import checkpoint, loop, metrics
from attnjax.training import interruption as interruptions
from attnjax.training import state as states
from attnjax.training import step as steps

STEPS = 11
LISTENED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class InMemory(checkpoint.Checkpoints):
  """The same interface, on a dict that outlives a run."""

  def __init__(self, saved=None, events=None):
    self.saved = {} if saved is None else saved
    self.events = [] if events is None else events

  def save(self, step, state, *, metric=None):
    self.events.append(f"save {step}")
    self.saved[step] = (jax.tree.map(np.array, state), metric)

  def restore(self, like):
    if not self.saved:
      return None
    step = max(self.saved)
    state = jax.tree.map(jnp.array, self.saved[step][0])
    return checkpoint.Restored(step, state, ("step 99: 1.dat is cut",))

  def steps(self):
    return sorted(self.saved)

  def wait(self):
    self.events.append("wait")

  def close(self):
    pass


def loss_fn(params, batch, key):
  noise = 0.01 * jax.random.normal(key, (7,))
  errors = (batch["x"] @ params["kernel"] + noise - batch["y"]) ** 2
  return jnp.sum(errors), jnp.float32(7)


def batch_at(step):
  random = np.random.default_rng(step)
  x = random.normal(size=(7, 3)).astype(np.float32)
  return {"x": x, "y": x @ np.array([1, -2, 3], np.float32)}


def evaluate(params):
  batch = batch_at(10**6)
  errors = (batch["x"] @ np.asarray(params["kernel"]) - batch["y"]) ** 2
  return {"loss": float(errors.mean())}


OPTIMIZER = optax.adam(0.1)
STEP = steps.jit_step(steps.make_step(loss_fn, OPTIMIZER, seed=3))


def settings(**changes):
  every = changes.pop("every_steps", 3)
  keep_best = changes.pop("keep_best", True)
  return TrainConfig(
    **{"steps": STEPS, "evaluate_every": 4, "log_every": 1, **changes},
    checkpoint=checkpoint.CheckpointConfig(
      every_steps=every, keep_last=100, keep_best=keep_best
    ),
  )


def train(workdir, checkpoints, config=None, **changes):
  state = states.init({"kernel": jnp.zeros(3)}, OPTIMIZER)
  calls = {"step": STEP, "batch_at": batch_at, "evaluate": evaluate, **changes}
  with metrics.Metrics(workdir, tensorboard=False) as writer:
    return loop.train(
      state,
      checkpoints=checkpoints,
      metrics=writer,
      config=config or settings(),
      **calls,
    )


def curve(workdir):
  """Every record without what depends on the clock."""
  records = metrics.read_metrics(workdir / "metrics.jsonl")
  return [
    {k: v for k, v in record.items() if k != "tokens_per_second"}
    for record in records
  ]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  workdir, checkpoints = tmp_path_factory.mktemp("unbroken"), InMemory()
  state = train(workdir, checkpoints)
  return curve(workdir), state, checkpoints.saved


def test_it_learns_and_records(unbroken):
  records, state, saved = unbroken
  losses = [r["loss"] for r in records if r["split"] == "train"]
  assert len(losses) == STEPS
  assert losses[-1] < losses[0]
  evaluated = [r["step"] for r in records if r["split"] == "eval"]
  assert evaluated == [4, 8, STEPS]
  # Every third step, each evaluation that was the best so far, and the end.
  assert sorted(saved) == [3, 4, 6, 8, 9, STEPS]
  assert [saved[step][1] is None for step in (3, 4, 6, 8)] == [1, 0, 1, 0]
  assert int(state.step) == STEPS


def test_records_do_not_depend_on_when_one_looks(tmp_path, unbroken):
  train(tmp_path, InMemory(), settings(log_every=5))
  seldom = [r for r in curve(tmp_path) if r["split"] == "train"]
  often = [r for r in unbroken[0] if r["split"] == "train"]
  assert seldom == [r for r in often if r["step"] in (5, 10, STEPS)]


def stopping_at(step, number=signal.SIGTERM):
  """A signal comes while the batch after `step` is made."""

  def stopping_batch_at(index):
    if index == step:
      signal.raise_signal(number)
    return batch_at(index)

  return stopping_batch_at


@pytest.mark.parametrize("stop", range(1, STEPS))
def test_stopped_and_started_again_is_bit_for_bit(
  tmp_path, unbroken, stop, capsys
):
  checkpoints = InMemory()
  with pytest.raises(SystemExit) as exit_:
    train(tmp_path, checkpoints, batch_at=stopping_at(stop))
  assert exit_.value.code == interruptions.EXIT_CODE == 75
  assert max(checkpoints.saved) == stop
  assert checkpoints.events[-1] == "wait"
  said = capsys.readouterr().err
  assert f"stopped by SIGTERM after step {stop} of {STEPS}, which is" in said
  state = train(tmp_path, checkpoints)
  said = capsys.readouterr().err
  assert f"skipped: step 99: 1.dat is cut\nresuming after step {stop}\n" in said
  records, expected, saved = unbroken
  assert curve(tmp_path) == records
  chex.assert_trees_all_equal(state, expected)
  # The evaluation that the stop left out is made up for, and saved.
  for step, (_, metric) in saved.items():
    assert checkpoints.saved[step][1] == metric


def once(action, at):
  """An evaluation that does something the first time that step comes."""
  seen = []

  def evaluate_then(params):
    seen.append(1)
    if len(seen) == at:
      action()
    return evaluate(params)

  return evaluate_then


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_last_evaluation_is_obeyed(
  tmp_path, unbroken, number, capsys
):
  checkpoints = InMemory()
  disturbed = once(lambda: signal.raise_signal(number), at=3)
  with pytest.raises(SystemExit) as exit_:
    train(tmp_path, checkpoints, evaluate=disturbed)
  assert exit_.value.code == interruptions.EXIT_CODE
  assert f"all {STEPS} steps are done and saved" in capsys.readouterr().err
  state = train(tmp_path, checkpoints)  # which comes to what is next
  assert curve(tmp_path) == unbroken[0]
  chex.assert_trees_all_equal(state, unbroken[1])


def test_a_signal_in_an_evaluation_is_obeyed_after_it(tmp_path, unbroken):
  checkpoints = InMemory()
  disturbed = once(lambda: signal.raise_signal(signal.SIGTERM), at=2)
  with pytest.raises(SystemExit):
    train(tmp_path, checkpoints, evaluate=disturbed)
  assert max(checkpoints.saved) == 8
  state = train(tmp_path, checkpoints)
  assert curve(tmp_path) == unbroken[0]
  chex.assert_trees_all_equal(state, unbroken[1])


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_evaluation_that_fails_costs_no_step(tmp_path, unbroken, at):
  def failing():
    raise MemoryError

  checkpoints = InMemory()
  with pytest.raises(MemoryError):
    train(tmp_path, checkpoints, evaluate=once(failing, at))
  assert max(checkpoints.saved) == [4, 8, STEPS][at - 1]
  state = train(tmp_path, checkpoints)
  assert curve(tmp_path) == unbroken[0]
  chex.assert_trees_all_equal(state, unbroken[1])


@pytest.mark.parametrize("killed", range(1, STEPS))
def test_killed_and_started_again_is_bit_for_bit(tmp_path, unbroken, killed):
  checkpoints = InMemory()

  def killing_batch_at(index):
    if index == killed:
      raise ZeroDivisionError
    return batch_at(index)

  with pytest.raises(ZeroDivisionError):
    train(tmp_path, checkpoints, batch_at=killing_batch_at)
  train(tmp_path, checkpoints)
  assert curve(tmp_path) == unbroken[0]
  assert sorted(checkpoints.saved) == sorted(unbroken[2])


class Scalar:
  """A number on a device: says when it is read."""

  def __init__(self, events, step, value=1.0):
    self.events, self.step, self.value = events, step, value

  def __array__(self, dtype=None, copy=None):
    self.events.append(f"read {self.step}")
    return np.asarray(self.value, dtype)


def fake_run(tmp_path, config, bad=None, compiling=0.0):
  """Runs with a step, a batch and a state that write down their turn."""
  events = []

  def step(state, batch):
    done = int(state.step) + 1
    events.append(f"step {done}")
    time.sleep(compiling if done == 1 else 0.0)
    loss = Scalar(events, done, np.nan if done == bad else 1.0)
    return states.TrainState(np.int32(done), (), ()), {
      "loss": loss,
      "weight": 1,
    }

  def fake_batch_at(index):
    events.append(f"batch {index}")
    return index

  def fake_evaluate(params):
    events.append("evaluate")
    return {"loss": 1.0}

  with (
    metrics.Metrics(tmp_path, tensorboard=False) as writer,
    contextlib.suppress(FloatingPointError),
  ):
    loop.train(
      states.TrainState(np.int32(0), (), ()),
      step=step,
      batch_at=fake_batch_at,
      evaluate=fake_evaluate,
      checkpoints=InMemory(events=events),
      metrics=writer,
      config=config,
      place=lambda batch: events.append(f"place {batch}"),
    )
  return events


def test_the_device_never_waits_for_python(tmp_path):
  events = fake_run(tmp_path, settings(steps=4, evaluate_every=0))
  assert events == [
    *("batch 0", "place 0"),
    *("step 1", "batch 1", "place 1"),
    *("step 2", "batch 2", "place 2", "read 1"),
    # Before a save the step itself is read: what is saved is finite.
    *("step 3", "batch 3", "place 3", "read 2", "read 3", "save 3"),
    *("step 4", "read 4", "evaluate", "save 4", "wait"),
  ]


def test_compiling_does_not_count_as_slow_training(tmp_path):
  fake_run(tmp_path, settings(steps=3, evaluate_every=0), compiling=0.5)
  first, *_, last, _ = metrics.read_metrics(tmp_path / "metrics.jsonl")
  assert first["tokens_per_second"] < 1 / 0.5
  assert last["tokens_per_second"] > 3 / 0.5


@pytest.mark.parametrize("bad", range(1, 7))
def test_a_state_that_is_not_finite_is_never_saved(tmp_path, bad):
  config = settings(steps=6, evaluate_every=2, every_steps=3)
  events = fake_run(tmp_path, config, bad=bad)
  saves = [int(e.split()[1]) for e in events if e.startswith("save")]
  # The first evaluation is the best so far; the later ones are no better.
  assert saves == [step for step in (2, 3, 6) if step < bad]
  assert f"step {bad + 2}" not in events


def test_the_error_names_the_step_the_checkpoint_and_the_remedy(tmp_path):
  def bad_batch_at(index):
    return jax.tree.map(
      lambda x: x * (np.inf if index == 7 else 1), batch_at(index)
    )

  config = settings()
  with checkpoint.Checkpoints(tmp_path / "c", config.checkpoint) as saved:
    with pytest.raises(
      FloatingPointError,
      match=r"step 8: loss is nan and .* Last good checkpoint: step 6\."
      r" Look at batch_at\(7\); lower the learning rate",
    ):
      train(tmp_path, saved, batch_at=bad_batch_at)
    assert saved.steps() == [3, 4, 6]
    like = states.init({"kernel": jnp.zeros(3)}, OPTIMIZER)
    chex.assert_tree_all_finite(saved.restore(like).state)


def test_the_first_step_can_be_bad_too(tmp_path):
  with pytest.raises(FloatingPointError, match=r"checkpoint: none\. Look at"):
    train(
      tmp_path,
      InMemory(),
      batch_at=lambda i: {
        "x": np.full((7, 3), np.inf, np.float32),
        "y": np.zeros(7, np.float32),
      },
    )


def test_a_memory_that_is_not_finite_is_named(tmp_path):
  found = {"loss": 1.0, "layer0_memory_norm": 2.0, "layer1_memory_norm": np.inf}
  words = "step 4: layer1_memory_norm is inf"
  with pytest.raises(FloatingPointError, match=words):
    train(tmp_path, InMemory(), evaluate=lambda params: found)


def test_an_evaluation_that_is_not_finite(tmp_path):
  checkpoints = InMemory()
  with pytest.raises(FloatingPointError, match="step 4: loss is nan"):
    train(tmp_path, checkpoints, evaluate=lambda params: {"loss": np.nan})
  assert checkpoints.steps() == [3]


def test_an_evaluation_that_is_not_finite_does_not_blame_a_batch(tmp_path):
  with pytest.raises(FloatingPointError) as caught:
    train(tmp_path, InMemory(), evaluate=lambda params: {"loss": np.inf})
  message = str(caught.value)
  assert "step 4: loss is inf in its evaluation" in message
  assert "The training loss of that step is finite: look at what" in message
  assert "batch_at" not in message


@pytest.mark.parametrize(
  ("returned", "words"),
  [
    ({"accuracy": 1.0}, "must return a `loss`.*got accuracy"),
    ({}, "must return a `loss`.*got nothing"),
    (2.5, "must return a `loss`.*got 2.5"),
    ({"loss": 1.0, "step": 3}, "must return no step"),
    (
      {"loss": np.ones(3)},
      r"loss must be a scalar, got ndarray of shape \(3,\)",
    ),
    ({"loss": "low"}, "loss must be a scalar, got str"),
  ],
)
def test_an_evaluation_without_a_loss_is_said_in_words(
  tmp_path, returned, words
):
  checkpoints = InMemory()
  with pytest.raises(ValueError, match=words):
    train(tmp_path, checkpoints, evaluate=lambda params: returned)
  assert max(checkpoints.saved) == 4  # no step is lost


def test_at_the_last_step_there_is_nothing_to_do(tmp_path, capsys, unbroken):
  config = settings()
  with checkpoint.Checkpoints(tmp_path / "c", config.checkpoint) as saved:
    first = train(tmp_path, saved)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    second = train(tmp_path, saved, batch_at=pytest.fail)
  assert "already at step 11 of 11: nothing to do" in capsys.readouterr().err
  chex.assert_trees_all_equal(first, second, unbroken[1])
  assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_longer_run_goes_on(tmp_path, unbroken):
  checkpoints = InMemory()
  train(tmp_path, checkpoints, settings(steps=6))
  train(tmp_path, checkpoints)
  often = [r for r in curve(tmp_path) if r["split"] == "train"]
  assert often == [r for r in unbroken[0] if r["split"] == "train"]


def test_donated_states_are_saved_as_they_were(tmp_path, unbroken):
  config = settings(every_steps=1)
  with checkpoint.Checkpoints(tmp_path / "c", config.checkpoint) as saved:
    train(tmp_path, saved, config)
    assert saved.steps() == list(range(1, STEPS + 1))
    assert saved.best() == STEPS
  assert curve(tmp_path) == unbroken[0]
  # Restored from the middle, while later states used the same memory.
  for step in range(STEPS - 1, 5, -1):
    for path in (tmp_path / "c" / str(step + 1)).rglob("*"):
      if path.is_file():
        path.unlink()
  with checkpoint.Checkpoints(tmp_path / "c", config.checkpoint) as saved:
    state = train(tmp_path, saved, config)
  chex.assert_trees_all_equal(state, unbroken[1])
  assert curve(tmp_path) == unbroken[0]


@pytest.mark.parametrize("stop", [4, 6, 8])
def test_stopped_with_real_checkpoints(tmp_path, unbroken, stop):
  config = settings()
  with checkpoint.Checkpoints(tmp_path / "c", config.checkpoint) as saved:
    with pytest.raises(SystemExit):
      train(tmp_path, saved, config, batch_at=stopping_at(stop))
    # It is on the disk by the time it says so.
    assert (tmp_path / "c" / str(stop) / "digests.json").exists()
    train(tmp_path, saved, config)
    assert saved.steps() == sorted(unbroken[2])
    assert saved.best() == min(
      (step for step, (_, metric) in unbroken[2].items() if metric is not None),
      key=lambda step: unbroken[2][step][1],
    )
  assert curve(tmp_path) == unbroken[0]


def test_it_compiles_once_and_not_again_after_a_restart(tmp_path):
  once = chex.assert_max_traces(loss_fn, 1)
  step = steps.jit_step(steps.make_step(once, OPTIMIZER))
  config = settings()
  with checkpoint.Checkpoints(tmp_path / "c", config.checkpoint) as saved:
    train(tmp_path, saved, settings(steps=5), step=step)
    assert step._cache_size() == 1
    train(tmp_path, saved, config, step=step)
  assert step._cache_size() == 1


def test_without_evaluation_and_without_best(tmp_path):
  checkpoints = InMemory()
  train(tmp_path / "a", checkpoints, evaluate=None)
  assert sorted(checkpoints.saved) == [3, 6, 9, STEPS]
  checkpoints = InMemory()
  train(tmp_path / "b", checkpoints, settings(keep_best=False))
  assert sorted(checkpoints.saved) == [3, 6, 9, STEPS]


def test_a_restored_state_takes_the_place_of_the_first(tmp_path):
  checkpoints = InMemory()
  train(tmp_path, checkpoints, settings(steps=3))
  state = states.init({"kernel": jnp.zeros(3)}, OPTIMIZER)
  with metrics.Metrics(tmp_path, tensorboard=False) as writer:
    restored = loop.train(
      state,
      step=STEP,
      batch_at=batch_at,
      checkpoints=checkpoints,
      metrics=writer,
      config=settings(steps=3),
    )
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
  assert not restored.params["kernel"].is_deleted()


@pytest.fixture
def hangup_heard():
  """As in a terminal, for the tests may be run under nohup."""
  before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
  yield
  signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup_heard")
@pytest.mark.parametrize(
  "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
)
def test_signals_are_noted_and_handlers_come_back(number, capfd):
  before = [signal.getsignal(s) for s in LISTENED]
  with interruptions.Interruption() as interruption:
    assert interruption.requested(1) is None
    signal.raise_signal(number)
    assert interruption.requested(2) == signal.Signals(number).name
    # The next SIGINT is the system's: it kills, whatever Python is doing.
    by_system = signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert by_system == (number == signal.SIGINT)
  after = [signal.getsignal(s) for s in LISTENED]
  assert before == after
  assert "stopping after this step" in capfd.readouterr().err


def test_under_nohup_a_hangup_stays_ignored(monkeypatch):
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with interruptions.Interruption() as interruption:
      signal.raise_signal(signal.SIGHUP)
      assert interruption.requested(1) is None
  finally:
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup_heard")
def test_of_several_processes_a_hangup_is_told_as_sigterm(monkeypatch):
  """JAX's preemption service listens for SIGTERM, and tells all of them."""
  heard = []
  before = signal.signal(signal.SIGTERM, lambda *_: heard.append("SIGTERM"))
  monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
  try:
    with interruptions.Interruption():
      signal.raise_signal(signal.SIGHUP)
    assert heard == ["SIGTERM"]
  finally:
    signal.signal(signal.SIGTERM, before)


def test_in_a_thread_no_handler_is_touched(tmp_path, unbroken):
  before = signal.getsignal(signal.SIGTERM)
  seen = []

  def looking_batch_at(index):
    seen.append(signal.getsignal(signal.SIGTERM))
    return batch_at(index)

  thread = threading.Thread(
    target=train,
    args=(tmp_path, InMemory()),
    kwargs={"batch_at": looking_batch_at},
  )
  thread.start()
  thread.join()
  assert set(seen) == {before}
  assert curve(tmp_path) == unbroken[0]


@pytest.mark.parametrize("name", ["steps", "log_every", "microbatches"])
def test_values_out_of_range_are_named(name):
  with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
    settings(**{name: 0})
  with pytest.raises(ValueError, match="evaluate_every must be at least 0"):
    settings(evaluate_every=-1)


def test_the_config_is_made_of_leaves():
  names = [leaf.name for leaf in configs.leaves(TrainConfig())]
  assert "checkpoint.every_steps" in names
  with pytest.raises(ValueError, match="compute_dtype must be one of"):
    configs.replace_leaves(TrainConfig(), {"compute_dtype": "float16"})
