"""What `train` does between restoring a state and returning the last one."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jax

from attnjax.training.checkpoint import Checkpoints
from attnjax.training.evaluation import scalars
from attnjax.training.interruption import EXIT_CODE, Interruption
from attnjax.training.metrics import Metrics
from attnjax.training.progress import Progress, Throughput
from attnjax.training.state import TrainState
from attnjax.training.train_config import TrainConfig


def _must_be_finite(name: str) -> bool:
  """The loss, and every norm: of gradients, of parameters, of memories."""
  return name == "loss" or name.endswith("_norm")


@dataclasses.dataclass
class Run:
  """One run of the loop, and what it remembers between steps.

  The fields are the arguments of `train`, which makes it; then come the step
  whose metrics are not read yet, and the step last saved.
  """

  step: Callable[..., Any]
  batch_at: Callable[[int], Any]
  checkpoints: Checkpoints
  metrics: Metrics
  config: TrainConfig
  evaluate: Callable[[Any], Mapping[str, float]] | None
  place: Callable[[Any], Any]
  progress: Progress
  interruption: Interruption
  pending: tuple[int, Any] | None = None
  saved: int = -1
  compiled: bool = False
  throughput: Throughput = dataclasses.field(default_factory=Throughput)

  def go(self, state: TrainState, first: int) -> TrainState:
    """Runs the steps after `first`."""
    steps, self.saved = self.config.steps, first
    self._resume_evaluation(state, first)
    if first >= steps:
      self.progress.say(f"already at step {first} of {steps}: nothing to do")
      self._leave_if_asked()
      return state
    batch = self.place(self.batch_at(first))
    for done in range(first + 1, steps + 1):
      state, current = self.step(state, batch)
      # Step `done` is running from here on; the device has work.
      if done < steps:
        batch = self.place(self.batch_at(done))
      self._read()
      self.pending = (done, current)
      self._after(state, done)
    self._leave_if_asked()
    return state

  def _leave_if_asked(self) -> None:
    """Obeys a signal that came when no step was left to stop after."""
    self.checkpoints.wait()
    if self.interruption.heard is not None:
      self.progress.say(
        f"stopped by {self.interruption.heard}: all {self.config.steps} steps"
        " are done and saved; the same command goes on with what comes after"
      )
      raise SystemExit(EXIT_CODE)

  def _after(self, state: TrainState, done: int) -> None:
    """Stops, evaluates and saves where one of them is due."""
    reason = self.interruption.requested(done)
    if reason is not None:
      self._stop(state, done, reason)
    loss, best = None, False
    if self.evaluate is not None and self._evaluation_due(done):
      with self._kept(state, done):
        loss, best = self._evaluate(self.evaluate, state, done)
    last = done == self.config.steps
    if best or last or done % self.config.checkpoint.every_steps == 0:
      self._save(state, done, loss)
    if self.interruption.heard is not None and not last:
      self._stop(state, done, self.interruption.heard)

  @contextlib.contextmanager
  def _kept(self, state: TrainState, done: int) -> Iterator[None]:
    """Saves the steps that are done where their evaluation fails.

    Not where a loss is not finite, for then the state is not good; nor where
    other processes may still evaluate, for all of them have to save.
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

  def _read(self) -> None:
    """Waits for the step last dispatched and records its metrics."""
    if self.pending is None:
      return
    (done, current), self.pending = self.pending, None
    values = {k: float(v) for k, v in jax.device_get(current).items()}
    self._check_finite(done, values)
    self.throughput.add(values["weight"])
    self.progress.update(done, values["loss"], self.throughput)
    if done % self.config.log_every == 0 or done == self.config.steps:
      rate = self.throughput.tokens_per_second
      self.metrics.write(done, "train", values | {"tokens_per_second": rate})
    if not self.compiled:
      self.compiled = True
      self.throughput.restart()  # the first step was compiled: not its speed

  def _evaluation_due(self, done: int) -> bool:
    """Whether there is an evaluation after this step."""
    every = self.config.evaluate_every
    return done == self.config.steps or (every > 0 and done % every == 0)

  def _evaluate(
    self,
    evaluate: Callable[[Any], Mapping[str, float]],
    state: TrainState,
    done: int,
  ) -> tuple[float, bool]:
    """Evaluates and records; returns the loss and whether it is the best."""
    self._read()
    values = scalars(evaluate(state.params))
    self._check_finite(done, values, of="evaluation")
    before = [record["loss"] for record in self.metrics.evaluations()]
    self.metrics.write(done, "eval", values)
    self.progress.evaluated(done, values["loss"])
    self.throughput.restart()
    best = values["loss"] < min(before, default=math.inf)
    return values["loss"], best and self.config.checkpoint.keep_best

  def _resume_evaluation(self, state: TrainState, first: int) -> None:
    """Makes up for the evaluation that a request to stop left out."""
    done = {record["step"] for record in self.metrics.evaluations()}
    if self.evaluate is None or first == 0 or first in done:
      return
    if self._evaluation_due(first):
      loss, best = self._evaluate(self.evaluate, state, first)
      if best:
        self.saved = -1
        self._save(state, first, loss)

  def _save(
    self, state: TrainState, done: int, metric: float | None = None
  ) -> None:
    """Saves a state that is known to be finite, unless it already is."""
    self._read()
    if self.saved == done:
      return
    self.metrics.sync()
    self.checkpoints.save(done, state, metric=metric)
    self.saved = done

  def _stop(self, state: TrainState, done: int, reason: str) -> NoReturn:
    """Saves, waits until it is on the disk, and leaves."""
    self._save(state, done)
    self.checkpoints.wait()
    self.progress.say(
      f"stopped by {reason} after step {done} of {self.config.steps}, which is"
      " saved; the same command goes on from there"
    )
    raise SystemExit(EXIT_CODE)

  def _check_finite(
    self, done: int, values: Mapping[str, float], of: str = ""
  ) -> None:
    """Raises where a loss or a norm is infinite or NaN.

    Args:
      done: number of updates.
      values: of a step, or of an evaluation after it.
      of: "evaluation", or nothing for a step.
    """
    bad = [
      f"{name} is {values[name]}"
      for name in sorted(values, key=lambda name: (name != "loss", name))
      if _must_be_finite(name) and not math.isfinite(values[name])
    ]
    if not bad:
      return
    self.checkpoints.wait()
    steps = self.checkpoints.steps()
    good = f"step {max(steps)}" if steps else "none"
    in_evaluation = f" in its {of}" if of else ""
    if of:
      # The step itself was finite, or it would have been said before.
      where = (
        "The training loss of that step is finite: look at what `evaluate`"
        " reads (the held-out batches) and at what it does with it"
      )
    else:
      where = f"Look at batch_at({done - 1})"
    # The same command would only come to the same numbers.
    raise FloatingPointError(
      f"step {done}: {' and '.join(bad)}{in_evaluation}. Last good checkpoint:"
      f" {good}. {where}; lower the learning rate or clip_norm,"
      " or compute in float32, in a new workdir or in a copy of this one whose"
      " config.json says so too"
    )
