"""Requests to stop a run: signals, and preemption by a scheduler."""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

__all__ = [
  "EXIT_CODE",
  "Interruption",
]


EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try the same command again


class Interruption:
  """Listens for a request to stop while it is open.

  SIGTERM, SIGHUP (the terminal was closed) and the first SIGINT ask for a stop
  after the current step. The second SIGINT kills at once. A SIGHUP that is
  ignored, as under nohup, stays so. In a thread other than the main one no
  signal can be caught, and none is.

  After `jax.distributed.initialize` JAX itself catches SIGTERM, and all
  processes have to stop at the same step: then its preemption service is
  asked, and SIGHUP is passed on to it as SIGTERM.

  >>> import signal
  >>> with Interruption() as interruption:
  ...   before = interruption.requested(1)
  ...   signal.raise_signal(signal.SIGTERM)
  ...   before, interruption.requested(2)
  (None, 'SIGTERM')
  """

  def __init__(self):
    self._signal: str | None = None
    self._previous: dict[signal.Signals, Any] = {}

  def requested(self, step: int) -> str | None:
    """The signal or `preemption` that asks to stop after a step, or None.

    Args:
      step: number of updates done. To be called once at every step: JAX's
        processes agree by it on the step at which all of them stop.
    """
    if multihost_utils.reached_preemption_sync_point(step):
      return "preemption"
    return self._signal

  @property
  def heard(self) -> str | None:
    """The signal that this process received; other processes may differ."""
    return self._signal

  def __enter__(self) -> "Interruption":
    main = threading.current_thread() is threading.main_thread()
    if not main:
      return self

    if jax.distributed.is_initialized():
      self._listen(
        signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM)
      )
      return self

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
      self._listen(number, self._on_signal)

    return self

  def _listen(self, number: signal.Signals, handler: Any) -> None:
    """Installs a handler, unless the signal is ignored, as under nohup."""
    ignored = signal.getsignal(number) == signal.SIG_IGN
    if number != signal.SIGHUP or not ignored:
      self._previous[number] = signal.signal(number, handler)

  def __exit__(self, *_: object) -> None:
    for number, handler in self._previous.items():
      # None: the handler was not installed from Python, and cannot be again.
      signal.signal(number, signal.SIG_DFL if handler is None else handler)
    self._previous = {}

  def _on_signal(self, number: int, frame: FrameType | None) -> None:
    """Handler: notes the signal, and restores SIGINT's default to kill."""
    del frame
    self._signal = signal.Signals(number).name
    message = f"\n{self._signal}: stopping after this step"
    if number == signal.SIGINT:
      signal.signal(signal.SIGINT, signal.SIG_DFL)
      # The default handler, so that a hanging step can be killed as well.
      message += "; once more kills at once"
    # os.write and not print, which may be interrupted in the middle of itself.
    with contextlib.suppress(OSError):  # of a terminal that is closed
      os.write(2, f"{message}\n".encode())
