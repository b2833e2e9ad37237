"""Checks that a directory can be written, before anything is queued."""

import tempfile
from pathlib import Path

from attnjax.training.workdir import missing_ability

__all__ = ["check_writable"]


def check_writable(path: Path) -> None:
  """Checks that a run could save in a directory; leaves no file.

  Tries what a checkpoint needs: to write a file, to append to it, and to rename
  a directory, which some mounts of buckets do not support.

  Args:
    path: a directory, made already or not.

  Raises:
    ValueError: names the place and the obstacle.
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

  if (refusal := missing_ability(place)) is not None:
    raise ValueError(refusal)
