"""A text stream that outlives its reader, as in `program | head`."""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any

__all__ = ["Unread"]

# A pipe whose reader left (`| head`), and a terminal that was closed.
_GONE = (errno.EPIPE, errno.EIO)


class Unread:
  r"""Text stream that discards its text once its reader has left.

  So that a closed pipe does not end a run: after the first write that fails the
  stream goes to the null device.

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
    """Writes or discards a text; returns its number of characters."""
    with self._tolerating_lost_reader():
      self._stream.write(text)
    return len(text)

  def writelines(self, lines: Any) -> None:
    """Writes or discards each line."""
    for line in lines:
      self.write(line)

  def flush(self) -> None:
    """Flushes the stream, if its reader is there."""
    with self._tolerating_lost_reader():
      self._stream.flush()

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  @contextlib.contextmanager
  def _tolerating_lost_reader(self) -> Iterator[None]:
    """Switches to the null device where the reader has left."""
    try:
      yield
    except OSError as error:
      # Once the reader has left, every error of the stream is of no interest.
      if error.errno not in _GONE and not self._gone:
        raise
      self._gone = True
      self._to_null()

  def _to_null(self) -> None:
    """Points the file descriptor at the null device."""
    # Else the text still buffered raises again when Python exits.
    with contextlib.suppress(OSError, ValueError, AttributeError):
      null = os.open(os.devnull, os.O_WRONLY)
      os.dup2(null, self._stream.fileno())
      os.close(null)
