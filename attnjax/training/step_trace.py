"""Trace of some steps of a run by `jax.profiler`, to open in xprof."""

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax

__all__ = ["StepTrace"]

_WARM = 3  # steps that are not traced: the first one compiles


class StepTrace:
  """Traces some consecutive steps of a run, once it is warm.

  The scopes of the model (project, attend, merge, memory) and of the step
  (gradient, update) are in the names of its operations. `xprof --logdir` or
  TensorBoard's profile plugin opens the directory.

  Args:
    directory: to write to; made if there is something to trace.
    steps: how many to trace; 0 traces none.

  Raises:
    ValueError: steps are negative.

  >>> trace = StepTrace("no/such/place", 0)
  >>> with trace.step(1):
  ...   pass
  >>> trace.after(1, {}) is None
  True
  """

  def __init__(self, directory: str | Path, steps: int):
    if steps < 0:
      raise ValueError(f"steps must be at least 0, got {steps}")
    self.directory = Path(directory)
    self._steps = steps
    self._first: int | None = None
    self._running = False

  def plan(self, first: int, steps: int) -> None:
    """Chooses which steps are traced.

    Args:
      first: steps done before.
      steps: length of the run.
    """
    left = steps - first
    # Of a short run the last steps: none would be worse than cold ones.
    warm = min(_WARM, max(left - self._steps, 0))
    self._first = first + warm + 1 if self._steps and left > 0 else None

  def step(self, done: int) -> AbstractContextManager[Any]:
    """Context of the step that makes `done` updates; begins the trace."""
    if done == self._first and not self._running:
      self.directory.mkdir(parents=True, exist_ok=True)
      jax.profiler.start_trace(str(self.directory))
      self._running = True
    if not self._running:
      return contextlib.nullcontext()
    return jax.profiler.StepTraceAnnotation("train", step_num=done)

  def after(self, done: int, made: Any) -> str | None:
    """Ends the trace after its last step; returns what to say of it.

    Args:
      done: updates done.
      made: arrays of the step, waited for, so that it is traced whole.
    """
    if not self._running or self._first is None:
      return None
    if done < self._first + self._steps - 1:
      return None
    jax.block_until_ready(made)
    return self.close()

  def close(self) -> str | None:
    """Writes what was traced, also of a run that ends before its time."""
    if not self._running:
      return None
    self._running, self._first = False, None
    jax.profiler.stop_trace()
    return f"traced steps are in {self.directory}: xprof --logdir opens it"
