"""Standard output and error of a run that nobody reads any more."""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any

__all__ = ["Unread"]

# A pipe whose reader left (`| head`), and a terminal that was closed.
_GONE = (errno.EPIPE, errno.EIO)


class Unread:
  r"""A text stream that goes on in silence once its reader has left.

  What is printed is a comment on a run, and no reason to lose it: the first
  write that finds nobody turns the stream to the null device.

  Args:
    stream: as `sys.stdout`; all but writing is its own.

  >>> import io
  >>> text = io.StringIO()
  >>> print("step 1", file=Unread(text))
  >>> text.getvalue()
  'step 1\n'
  """

  def __init__(self, stream: Any):
    self._stream = stream
    self._gone = False

  def write(self, text: str) -> int:
    """Writes, or does nothing; returns how many characters there were."""
    with self._leaving():
      self._stream.write(text)
    return len(text)

  def writelines(self, lines: Any) -> None:
    """Writes each of them."""
    for line in lines:
      self.write(line)

  def flush(self) -> None:
    """Hands to the system what was written."""
    with self._leaving():
      self._stream.flush()

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  @contextlib.contextmanager
  def _leaving(self) -> Iterator[None]:
    """Notes that the reader has left; other errors pass."""
    try:
      yield
    except OSError as error:
      if error.errno not in _GONE and not self._gone:
        raise
      self._gone = True
      self._to_null()

  def _to_null(self) -> None:
    """Else what is buffered would raise again when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
      null = os.open(os.devnull, os.O_WRONLY)
      os.dup2(null, self._stream.fileno())
      os.close(null)
