"""Some steps of a run are traced, with our scopes in their names."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attnjax.models import DecoderConfig, DecoderLM
from attnjax.training import step_trace
from attnjax.training.state import init
from attnjax.training.step import jit_step, make_step
from attnjax.training.step_trace import StepTrace


def planned(first, steps, count, monkeypatch, fails_at=None):
  """The steps that are traced of a run."""
  events = []
  monkeypatch.setattr(
    step_trace.jax.profiler, "start_trace", lambda path: events.append("start")
  )
  monkeypatch.setattr(
    step_trace.jax.profiler, "stop_trace", lambda: events.append("stop")
  )
  trace = StepTrace("/tmp/never-written", count)
  monkeypatch.setattr(type(trace.directory), "mkdir", lambda *_, **__: None)
  trace.plan(first, steps)
  for done in range(first + 1, steps + 1):
    if done == fails_at:
      break
    with trace.step(done):
      events.append(done)
    if trace.after(done, jnp.zeros(())) is not None:
      events.append("said")
  trace.close()
  if "start" not in events:
    return []
  inside = events[events.index("start") + 1 : events.index("stop")]
  assert events.count("start") == events.count("stop") == 1
  return inside


@pytest.mark.parametrize(
  ("first", "steps", "count", "expected"),
  [
    (0, 20, 2, [4, 5]),  # the first compiles
    (7, 20, 3, [11, 12, 13]),
    (0, 4, 3, [2, 3, 4]),
    (0, 2, 9, [1, 2]),
    (5, 5, 3, []),
    (0, 20, 0, []),
  ],
)
def test_the_steps_that_are_traced(first, steps, count, expected, monkeypatch):
  assert planned(first, steps, count, monkeypatch) == expected


def test_a_run_that_ends_early_keeps_its_trace(monkeypatch):
  assert planned(0, 20, 9, monkeypatch, fails_at=6) == [4, 5]


def test_a_negative_number_is_refused():
  with pytest.raises(ValueError, match="at least 0, got -1"):
    StepTrace("x", -1)


@pytest.mark.slow
def test_the_trace_holds_the_scopes_of_model_and_step(tmp_path):
  config = DecoderConfig(width=8, depth=1, heads=2, hidden=16)
  model = DecoderLM(config, 17, rngs=nnx.Rngs(0))

  def loss(model, batch, key):
    del key
    logits = model(batch)
    return (logits**2).sum(), jnp.float32(logits.size)

  optimizer = optax.sgd(0.1)
  step, state = jit_step(make_step(loss, optimizer)), init(model, optimizer)
  trace = StepTrace(tmp_path / "profile", 1)
  trace.plan(0, 2)
  said = None
  for done in (1, 2):
    with trace.step(done):
      state, metrics = step(state, np.zeros((1, 5), np.int32))
    said = trace.after(done, metrics) or said
  assert str(tmp_path / "profile") in said
  (file,) = (tmp_path / "profile").glob("plugins/profile/*/*.xplane.pb")
  content = file.read_bytes()
  for scope in (b"gradient/", b"project/", b"attend/"):
    assert scope in content, scope
