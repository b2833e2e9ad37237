"""Errors of a full or read-only disk, with the path and the remedy."""

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["hide_logged_disk_errors", "naming_disk_errors"]

_REMEDIES = {
  errno.ENOSPC: "free some space there, keep fewer checkpoints",
  errno.EDQUOT: "free some of your quota there, keep fewer checkpoints",
  errno.EFBIG: "allow larger files there (ulimit -f)",
  errno.EROFS: "have it mounted for writing",
  errno.EIO: "have the disk looked at",
}


@contextlib.contextmanager
def naming_disk_errors(
  path: Path, what: str, after: str = ""
) -> Iterator[None]:
  """Re-raises errors of a disk as one sentence; other errors pass unchanged.

  Args:
    path: of what is written.
    what: is being done, as in "save step 40".
    after: what can be done once there is space.

  Raises:
    OSError: names the path and the remedy.

  >>> import errno
  >>> from pathlib import Path
  >>> with naming_disk_errors(Path("runs"), "save step 4"):
  ...   raise OSError(errno.ENOSPC, "No space left on device")
  Traceback (most recent call last):
  OSError: cannot save step 4 in runs: No space left on device; free some space
  there, keep fewer checkpoints, or name a --workdir on another disk
  """
  try:
    yield
  except (OSError, ValueError) as error:
    # Other errors are no fault of the disk, and pass with their traceback.
    code = _code(error)
    if code is None:
      raise

    told = OSError(
      f"cannot {what} in {path}: {os.strerror(code)}; {_REMEDIES[code]}, or"
      f" name a --workdir on another disk{after}"
    )
    told.errno = code
    # `from None`: the cause is a hundred lines of Orbax and TensorStore.
    raise told from None


@contextlib.contextmanager
def hide_logged_disk_errors() -> Iterator[None]:
  """Drops log records of disk errors, for the same errors are raised too.

  Orbax logs the traceback of each of its threads that fails, and raises it.
  """

  def is_no_disk_error(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return error is None or _code(error) is None

  # The logger of Orbax.
  logger = logging.getLogger("absl")
  logger.addFilter(is_no_disk_error)
  try:
    yield
  finally:
    logger.removeFilter(is_no_disk_error)


def _code(error: BaseException) -> int | None:
  """The errno of an error of `_REMEDIES`; None for any other error."""
  if isinstance(error, OSError):
    return error.errno if error.errno in _REMEDIES else None
  # TensorStore raises a ValueError that quotes the system.
  text = str(error)
  return next((c for c in _REMEDIES if os.strerror(c) in text), None)
