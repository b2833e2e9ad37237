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
  # A link that leads nowhere is in the way: nothing is made through it.
  while not (place.exists() or place.is_symlink()) and place != place.parent:
    place = place.parent
  try:
    with tempfile.TemporaryFile(dir=place):
      pass
  except OSError as error:
    link = f", a link to {place.readlink()}" if place.is_symlink() else ""
    raise ValueError(
      f"{path} cannot be written: {place}{link}: {error.strerror}; choose"
      " another --workdir, or mount what should be there"
    ) from error
