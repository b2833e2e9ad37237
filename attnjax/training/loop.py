"""The training loop: restore, step, evaluate, save, stop on a signal.

The device never waits for Python: step `n` is dispatched, the next batch is
made while the device works, and only then are the metrics of step `n - 1` read.
A run that was killed and started again is equal to an unbroken one, bit for
bit.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jax

from attnjax.config import Config, setting
from attnjax.training.checkpoint import CheckpointConfig, Checkpoints
from attnjax.training.evaluation import scalars
from attnjax.training.finite import require_finite
from attnjax.training.interruption import EXIT_CODE, Interruption
from attnjax.training.metrics import Metrics
from attnjax.training.observation import Observation
from attnjax.training.processes import exit_when_peer_lost
from attnjax.training.progress import Progress, Throughput
from attnjax.training.state import TrainState
from attnjax.training.step_trace import StepTrace

__all__ = ["LoopConfig", "train"]


@dataclasses.dataclass(frozen=True)
class LoopConfig(Config):
  """Length of a run, and intervals of evaluation, logging and saving.

  Raises:
    ValueError: a value is outside its range.

  >>> LoopConfig(steps=1000).evaluate_every
  500
  """

  steps: int = setting(10_000, "length of the run, optimizer steps", at_least=1)
  evaluate_every: int = setting(
    500,
    "steps between evaluations; 0: only after the last step",
    at_least=0,
    decides=False,
  )
  log_every: int = setting(
    10, "steps between records in metrics.jsonl", at_least=1, decides=False
  )
  progress_seconds: float = setting(
    30.0,
    "seconds between progress lines where there is no terminal",
    at_least=0,
    decides=False,
  )
  profile_steps: int = setting(
    0,
    "steps traced by jax.profiler once the run is warm; 0: none",
    at_least=0,
    decides=False,
  )
  checkpoint: CheckpointConfig = CheckpointConfig()


def train(
  state: TrainState,
  *,
  step: Callable[..., Any],
  batch_at: Callable[[int], Any],
  checkpoints: Checkpoints,
  metrics: Metrics,
  config: LoopConfig,
  evaluate: Callable[[Any], Mapping[str, float]] | None = None,
  place: Callable[[Any], Any] = jax.device_put,
  observe: Callable[[Any], Observation] | None = None,
  trace: StepTrace | None = None,
) -> TrainState:
  """Trains until `config.steps`, from the newest whole checkpoint on.

  After a kill at any moment the same call goes on, and `metrics.jsonl` ends
  up equal to that of an unbroken run, floats bit for bit. SIGTERM, SIGHUP and
  the first SIGINT finish the step, save it and exit with code 75; the second
  SIGINT kills at once. A closed standard error does not end the run.

  Args:
    state: where a new run starts; its shapes, dtypes and shardings are those
      of a restored one. It is consumed: use the state that is returned.
    step: `(state, batch) -> (state, metrics)`, from `jit_step`. The metrics
      hold at least `loss` and `weight`.
    batch_at: updates done before -> the batch of the next one. A pure
      function of that number, or resuming is not exact.
    checkpoints: where states are saved: every `checkpoint.every_steps`, after
      each evaluation that is the best so far, and at the end.
    metrics: where scalars are recorded; `train` calls its `resume`.
    config: how long and how often.
    evaluate: parameters -> scalars with a `loss`, lower being better, that
      are recorded and choose the best checkpoint. None: no evaluation.
    place: moves a batch to its devices; called while the device computes.
    observe: parameters -> what is recorded of them beside each evaluation, as
      the split "attention". None: nothing.
    trace: of some steps; None traces none.

  Returns:
    The state after the last step.

  Raises:
    FloatingPointError: a loss or a norm is not finite; names the step, and
      the checkpoint to go back to. Such a state is never saved.
    SystemExit: with code 75, after a request to stop.

  >>> from attnjax.training.checkpoint import Checkpoints
  >>> from attnjax.training.metrics import Metrics
  >>> from attnjax.training.state import TrainState
  >>> from attnjax.training.loop import LoopConfig
  >>> import tempfile
  >>> from jax import numpy as jnp
  >>> state = TrainState(jnp.int32(0), jnp.float32(0), ())
  >>> def step(state, batch):
  ...   state = TrainState(state.step + 1, state.params + batch, ())
  ...   return state, {"loss": state.params, "weight": 1.0}
  >>> config, workdir = LoopConfig(steps=3), tempfile.mkdtemp()
  >>> with (
  ...   Checkpoints(f"{workdir}/checkpoints", config.checkpoint) as checkpoints,
  ...   Metrics(workdir, tensorboard=False) as metrics,
  ... ):
  ...   state = train(
  ...     state, step=step, batch_at=float, config=config,
  ...     checkpoints=checkpoints, metrics=metrics,
  ...   )
  >>> float(state.params)
  3.0
  """
  show = Progress(
    config.steps,
    seconds=config.progress_seconds,
    quiet=jax.process_index() != 0,
  )

  with show as progress, Interruption() as interruption, exit_when_peer_lost():
    state = _restore(state, checkpoints, progress)
    # Records after the restored step are dropped: they are written again.
    first = int(state.step)
    metrics.resume(first)
    run = _Run(
      step=step,
      batch_at=batch_at,
      checkpoints=checkpoints,
      metrics=metrics,
      config=config,
      evaluate=evaluate,
      place=place,
      progress=progress,
      interruption=interruption,
      observe=observe,
      trace=StepTrace("", 0) if trace is None else trace,
    )

    try:
      return run.steps_after(first, state)
    finally:
      run.trace.close()


def _restore(
  state: TrainState, checkpoints: Checkpoints, progress: Progress
) -> TrainState:
  """The state of the newest undamaged checkpoint, or else the given one."""
  if not checkpoints.steps():
    progress.say("no checkpoint: starting at step 0")
    return state

  like = jax.tree.map(_shape, state)
  # Freed first, so that the state and the restored one never exist together.
  for leaf in jax.tree.leaves(state):
    if isinstance(leaf, jax.Array) and not leaf.is_deleted():
      leaf.delete()

  restored = checkpoints.restore(like)
  if restored is None:
    raise FileNotFoundError(
      "checkpoints: the steps found at the start are gone; start again"
    )

  for sentence in restored.skipped:
    progress.say(f"skipped: {sentence}")

  progress.say(f"resuming after step {restored.step}")
  return restored.state


def _shape(x: Any) -> jax.ShapeDtypeStruct:
  """Shape, dtype and, of a committed array, sharding."""
  placed = isinstance(x, jax.Array) and x.committed
  return jax.ShapeDtypeStruct(
    x.shape, x.dtype, sharding=x.sharding if placed else None
  )


@dataclasses.dataclass
class _Run:
  """A run of the loop: the arguments of `train`, and its state between steps.

  Args:
    pending: the step whose metrics are not read yet, and these metrics.
    saved: the step last saved.
    compiled: whether the first step, which compiles, is done.
  """

  step: Callable[..., Any]
  batch_at: Callable[[int], Any]
  checkpoints: Checkpoints
  metrics: Metrics
  config: LoopConfig
  evaluate: Callable[[Any], Mapping[str, float]] | None
  place: Callable[[Any], Any]
  progress: Progress
  interruption: Interruption
  observe: Callable[[Any], Observation] | None
  trace: StepTrace
  pending: tuple[int, Any] | None = None
  saved: int = -1
  compiled: bool = False
  throughput: Throughput = dataclasses.field(default_factory=Throughput)

  def steps_after(self, first: int, state: TrainState) -> TrainState:
    """Runs the steps from `first + 1` on; returns the last state."""
    steps, self.saved = self.config.steps, first
    self._resume_evaluation(state, first)

    if first >= steps:
      self.progress.say(f"already at step {first} of {steps}: nothing to do")
      self._exit_if_interrupted()
      return state

    self.trace.plan(first, steps)
    batch = self.place(self.batch_at(first))
    for done in range(first + 1, steps + 1):
      with self.trace.step(done):
        state, current = self.step(state, batch)
      if (said := self.trace.after(done, current)) is not None:
        self.progress.say(said)
      # Step `done` runs on the device while Python prepares the next batch and
      # reads the metrics of the step before.
      if done < steps:
        batch = self.place(self.batch_at(done))
      self._record_pending()
      self.pending = (done, current)
      self._after(state, done)

    self._exit_if_interrupted()
    return state

  def _exit_if_interrupted(self) -> None:
    """Exits with code 75 on a signal that came during the last step."""
    self.checkpoints.wait()
    if self.interruption.heard is not None:
      self.progress.say(
        f"stopped by {self.interruption.heard}: all {self.config.steps} steps"
        " are done and saved; the same command goes on with what comes after"
      )
      raise SystemExit(EXIT_CODE)

  def _after(self, state: TrainState, done: int) -> None:
    """After a step: stops if requested, evaluates and saves if due."""
    reason = self.interruption.requested(done)
    if reason is not None:
      self._stop(state, done, reason)

    loss, best = None, False
    if self.evaluate is not None and self._evaluation_due(done):
      with self._save_if_it_fails(state, done):
        loss, best = self._evaluate(self.evaluate, state, done)

    last = done == self.config.steps
    if best or last or done % self.config.checkpoint.every_steps == 0:
      self._save(state, done, loss)

    if self.interruption.heard is not None and not last:
      self._stop(state, done, self.interruption.heard)

  @contextlib.contextmanager
  def _save_if_it_fails(self, state: TrainState, done: int) -> Iterator[None]:
    """Saves the state where its evaluation raises, so that no step is lost.

    Not where a loss is not finite, for then the state is useless; nor with
    several processes, which all have to save while some still evaluate.
    """
    try:
      yield
    except FloatingPointError:
      raise
    except BaseException:
      if jax.process_count() == 1:
        self._save(state, done)
        self.checkpoints.wait()
      raise

  def _record_pending(self) -> None:
    """Waits for the last dispatched step and records its metrics."""
    if self.pending is None:
      return

    (done, current), self.pending = self.pending, None
    values = {k: float(v) for k, v in jax.device_get(current).items()}
    require_finite(self.checkpoints, done, values)
    self.throughput.add(values["weight"])
    self.progress.update(done, values["loss"], self.throughput)

    if done % self.config.log_every == 0 or done == self.config.steps:
      rate = self.throughput.tokens_per_second
      self.metrics.write(done, "train", values | {"tokens_per_second": rate})

    if not self.compiled:
      self.compiled = True
      self.throughput.restart()  # the first step's time is that of compiling

  def _evaluation_due(self, done: int) -> bool:
    """Whether a step is followed by an evaluation."""
    # The last step is always evaluated.
    every = self.config.evaluate_every
    return done == self.config.steps or (every > 0 and done % every == 0)

  def _evaluate(
    self,
    evaluate: Callable[[Any], Mapping[str, float]],
    state: TrainState,
    done: int,
  ) -> tuple[float, bool]:
    """Evaluates and records; returns the loss, and whether to save as best."""
    self._record_pending()
    values = scalars(evaluate(state.params))
    require_finite(self.checkpoints, done, values, of="evaluation")
    # Of all runs in this directory, so that a resumed run knows the best.
    before = [record["loss"] for record in self.metrics.evaluations()]
    self.metrics.write(done, "eval", values)
    self.progress.evaluated(done, values["loss"])
    if self.observe is not None:
      seen = self.observe(state.params)
      self.metrics.write(done, "attention", seen.scalars)
      self.metrics.draw(done, "attention", seen.pictures)
    self.throughput.restart()
    best = values["loss"] < min(before, default=math.inf)
    return values["loss"], best and self.config.checkpoint.keep_best

  def _resume_evaluation(self, state: TrainState, first: int) -> None:
    """Evaluates a restored step whose evaluation was cut off by a signal."""
    done = {record["step"] for record in self.metrics.evaluations()}
    if self.evaluate is None or first == 0 or first in done:
      return
    if self._evaluation_due(first):
      loss, best = self._evaluate(self.evaluate, state, first)
      if best:
        # Saved already, but without the metric that makes it the best.
        self.saved = -1
        self._save(state, first, loss)

  def _save(
    self, state: TrainState, done: int, metric: float | None = None
  ) -> None:
    """Saves a state, unless it is saved already."""
    # Reads the metrics first: a state that is not finite raises here.
    self._record_pending()
    if self.saved == done:
      return
    # Before the checkpoint, or a crash could leave a step without its records.
    self.metrics.sync()
    self.checkpoints.save(done, state, metric=metric)
    self.saved = done

  def _stop(self, state: TrainState, done: int, reason: str) -> NoReturn:
    """Saves, waits until the checkpoint is on the disk, and exits."""
    self._save(state, done)
    self.checkpoints.wait()
    self.progress.say(
      f"stopped by {reason} after step {done} of {self.config.steps}, which is"
      " saved; the same command goes on from there"
    )
    raise SystemExit(EXIT_CODE)
