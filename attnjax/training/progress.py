"""The progress line of a run: step, loss, tokens per second, time left."""

import collections
import datetime
import sys
import time
from collections.abc import Callable
from typing import Any

from attnjax.config import Unread
from attnjax.extras import needs_extra

__all__ = [
  "Progress",
  "Throughput",
]


_WINDOW = 100  # steps: enough for a steady rate, few enough to follow a change


class Throughput:
  """Tokens and steps per second over the last hundred steps.

  Args:
    clock: seconds, a number that only grows.

  >>> throughput = Throughput(iter([0.0, 2.0, 4.0]).__next__)
  >>> throughput.add(10.0)
  >>> throughput.add(30.0)
  >>> throughput.tokens_per_second, throughput.steps_per_second
  (10.0, 0.5)
  """

  def __init__(self, clock: Callable[[], float] = time.monotonic):
    self._clock = clock
    self._marks: collections.deque[tuple[float, int, float]]
    # One mark more than steps: a rate needs both ends.
    self._marks = collections.deque(maxlen=_WINDOW + 1)
    self.restart()

  def restart(self) -> None:
    """Starts anew, after a pause that was no step (compiling, evaluating)."""
    self._marks.clear()
    self._marks.append((self._clock(), 0, 0.0))

  def add(self, tokens: float) -> None:
    """Counts one step, which trained on so many tokens."""
    _, steps, total = self._marks[-1]
    self._marks.append((self._clock(), steps + 1, total + tokens))

  @property
  def tokens_per_second(self) -> float:
    """Tokens per second; 0 before the first step."""
    return self._rate(2)

  @property
  def steps_per_second(self) -> float:
    """Steps per second; 0 before the first step."""
    return self._rate(1)

  def _rate(self, column: int) -> float:
    """Growth per second of one column of the marks, over the window."""
    first, last = self._marks[0], self._marks[-1]
    seconds = last[0] - first[0]
    return (last[column] - first[column]) / seconds if seconds > 0 else 0.0


class Progress:
  """A progress line: step, loss, tokens per second, time left, last evaluation.

  On a terminal it is one `rich` line that is redrawn. Elsewhere, in a log
  file, it is a plain line every so many seconds, without control characters.

  Args:
    steps: length of the run, in updates.
    seconds: between two plain lines.
    stream: text stream that it goes to; None is standard error.
    quiet: shows nothing at all, for all processes but the first.
    clock: seconds, a number that only grows.

  Raises:
    ImportError: the stream is a terminal and rich is missing.

  >>> import sys
  >>> with Progress(100, stream=sys.stdout) as progress:
  ...   progress.update(30, 2.5, Throughput(lambda: 0.0))
  step 30/100  loss 2.5000  0 tokens/s  ? left
  """

  def __init__(
    self,
    steps: int,
    *,
    seconds: float = 30.0,
    stream: Any = None,
    quiet: bool = False,
    clock: Callable[[], float] = time.monotonic,
  ):
    self._steps = steps
    self._seconds = seconds
    # A reader that leaves, as `| head` does, must not end the run.
    self._stream: Any = Unread(sys.stderr if stream is None else stream)
    self._quiet = quiet
    self._clock = clock
    self._printed: float | None = None
    self._evaluation = ""

    self._bar: Any = None
    if self._stream.isatty() and not quiet:
      self._bar = _bar(self._stream, steps)

  def update(self, step: int, loss: float, throughput: Throughput) -> None:
    """Shows that a step is done.

    Args:
      step: number of updates done.
      loss: of that step, nats per token.
      throughput: counts the steps.
    """
    if self._bar is not None:
      text = self._text(step, loss, throughput)
      self._bar.update(self._bar.task_ids[0], completed=step, text=text)
      return
    now = self._clock()
    # The first and the last step are printed at any interval.
    due = self._printed is None or now - self._printed >= self._seconds
    if due or step == self._steps:
      self._printed = now
      self.say(self._text(step, loss, throughput))

  def evaluated(self, step: int, loss: float) -> None:
    """Shows the loss of the last evaluation from now on.

    Args:
      step: number of updates done.
      loss: nats per token.
    """
    self._evaluation = f"  eval {loss:.4f} at {step}"
    if self._bar is None:
      self.say(f"step {step}/{self._steps}{self._evaluation}")

  def say(self, message: str) -> None:
    """Prints a message on a line of its own.

    Args:
      message: plain text.
    """
    if self._bar is not None:
      self._bar.console.print(message, markup=False, highlight=False)
    elif not self._quiet:
      print(message, file=self._stream, flush=True)

  def close(self) -> None:
    """Stops the progress bar; its last line stays on the terminal."""
    if self._bar is not None:
      self._bar.stop()

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _text(self, step: int, loss: float, throughput: Throughput) -> str:
    """The line without its bar."""
    rate = throughput.steps_per_second
    left = "?"
    if rate > 0:
      left = str(datetime.timedelta(seconds=round((self._steps - step) / rate)))
    return (
      f"step {step}/{self._steps}  loss {loss:.4f}"
      f"  {throughput.tokens_per_second:,.0f} tokens/s  {left} left"
      f"{self._evaluation}"
    )


def _bar(stream: Any, steps: int) -> Any:
  """A started `rich` progress bar of one task."""
  with needs_extra(
    "metrics",
    "a progress line needs rich",
    instead=", or send standard error to a file",
  ):
    from rich import console, progress

  bar = progress.Progress(
    progress.BarColumn(bar_width=20),
    progress.TextColumn("{task.fields[text]}", markup=False),
    console=console.Console(file=stream),
  )
  bar.add_task("", total=steps, text="compiling")
  bar.start()
  return bar
