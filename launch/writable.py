"""Whether a directory could be written, found out before anything is paid."""

import tempfile
from pathlib import Path

__all__ = ["check_writable"]


def check_writable(path: Path) -> None:
  """Refuses a place where nothing can be written; leaves nothing behind.

  Args:
    path: a directory, made already or not.

  Raises:
    ValueError: names the place, and what stands in the way.
  """
  place = path.absolute()
  while not place.exists() and place != place.parent:
    place = place.parent
  try:
    with tempfile.TemporaryFile(dir=place):
      pass
  except OSError as error:
    raise ValueError(
      f"{path} cannot be written: {place}: {error.strerror}; choose another"
      " --workdir, or mount what should be there"
    ) from error
