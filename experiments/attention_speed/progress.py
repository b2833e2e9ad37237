"""How far a run is: a bar on a terminal, a line a case elsewhere."""

import sys
from typing import Any

__all__ = ["Progress"]


class Progress:
  """Counts cases; what is said of each stays above the bar.

  Args:
    total: how many there are.
    stream: None is standard error.
  """

  def __init__(self, total: int, stream: Any = None):
    self._stream = sys.stderr if stream is None else stream
    self._total = total
    self._done = 0
    self._bar = _bar(self._stream, total) if self._stream.isatty() else None

  def done(self, text: str) -> None:
    """One more case is done."""
    self._done += 1
    line = f"[{self._done}/{self._total}] {text}"
    if self._bar is None:
      print(line, file=self._stream, flush=True)
      return
    self._bar.console.print(line, markup=False, highlight=False)
    self._bar.advance(self._bar.task_ids[0])

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *_: object) -> None:
    if self._bar is not None:
      self._bar.stop()


def _bar(stream: Any, total: int) -> Any:
  """A started bar of `rich`; None where it is not installed."""
  try:
    from rich import console, progress
  except ImportError:
    return None
  bar = progress.Progress(console=console.Console(file=stream))
  bar.add_task("", total=total)
  bar.start()
  return bar
