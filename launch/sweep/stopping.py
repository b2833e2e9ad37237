"""Stops a local sweep at SIGTERM or Ctrl-C once its runs have saved."""

import os
import signal
from types import FrameType
from typing import Any

from attnjax.training.interruption import EXIT_CODE

__all__ = ["Stopping"]

# 75 says: saved, the same command goes on. 130 is what a shell says of Ctrl-C.
_CODES = {signal.SIGTERM: EXIT_CODE, signal.SIGINT: 128 + signal.SIGINT}


class Stopping:
  """Context manager that records the first SIGTERM or Ctrl-C.

  The handler only stores the signal, without a lock: each running point polls
  `asked`. Python handles signals in the main thread, so it is entered there.

  >>> import signal
  >>> with Stopping() as stopping:
  ...   before = stopping.asked()
  ...   signal.raise_signal(signal.SIGTERM)
  ...   before, stopping.asked(), stopping.code
  (False, True, 75)
  """

  def __init__(self):
    self._signal: signal.Signals | None = None
    self._previous: dict[signal.Signals, Any] = {}

  def asked(self) -> bool:
    """Whether a signal has come."""
    return self._signal is not None

  @property
  def code(self) -> int:
    """Exit code: 75 after SIGTERM, 130 after Ctrl-C, else 0."""
    return 0 if self._signal is None else _CODES[self._signal]

  def __enter__(self) -> "Stopping":
    for number in _CODES:
      self._previous[number] = signal.signal(number, self._on_signal)
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._previous.items():
      # None: the handler was not installed from Python, and cannot be again.
      signal.signal(number, signal.SIG_DFL if handler is None else handler)

  def _on_signal(self, number: int, frame: FrameType | None) -> None:
    """Records the first signal and prints what happens next."""
    del frame
    if self._signal is None:
      self._signal = signal.Signals(number)
      said = (
        f"\n{self._signal.name}: what runs saves and stops; no point begins"
      )
      # Not print: the signal may have come in the middle of another one.
      os.write(2, f"{said}\n".encode())
