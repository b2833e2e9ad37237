"""Directories below a directory, each once, whatever links say."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Walk", "matching"]


class Walk:
  """A directory and all below it but hidden ones; links are followed.

  A link to a directory that holds the one it is in, or that was met before,
  is not followed, or two of them would never come to an end.

  Args:
    root: where to begin; itself the first.

  >>> from pathlib import Path
  >>> import tempfile
  >>> root = Path(tempfile.mkdtemp())
  >>> (root / "again").symlink_to(root)
  >>> walk = Walk(root)
  >>> [*walk] == [root], walk.left_out == [root / "again"]
  (True, True)
  """

  def __init__(self, root: Path):
    self.left_out: list[Path] = []
    real = os.path.realpath(root)
    self._above = {str(parent) for parent in Path(real).parents}
    self._met = {real}
    self._folders = self._below(root)

  def __iter__(self) -> Iterator[Path]:
    return self._folders

  def _below(self, folder: Path) -> Iterator[Path]:
    """A directory, then those in it by name."""
    yield folder
    try:
      inside = sorted(folder.iterdir())
    except OSError as error:
      raise ValueError(
        f"path: {error.filename!r} cannot be read ({error.strerror}); make it"
        " readable or leave it out of the path."
      ) from error

    # Directories before links to them: so one that is in the tree twice is
    # found at its own place.
    for path in sorted(inside, key=os.path.islink):
      if path.name.startswith(".") or not os.path.isdir(path):
        continue
      real = os.path.realpath(path)
      if real in self._met or real in self._above:
        self.left_out.append(path)
      else:
        self._met.add(real)
        yield from self._below(path)


def matching(pattern: str) -> tuple[list[Path], list[Path]]:
  """What a glob matches, each path once, and the links it did not follow.

  It is `glob.glob` but for `**`, which there follows links round and round.

  Args:
    pattern: with `*`, `?`, `[...]` and `**`.

  >>> matching("no/such/**/file")
  ([], [])
  """
  before, starred, after = _cut(pattern)
  if not starred:
    return [Path(match) for match in sorted(glob.glob(pattern))], []

  found: dict[Path, None] = {}
  left_out: list[Path] = []

  for start in sorted(glob.glob(before)) if before else ["."]:
    if not os.path.isdir(start):
      continue

    walk = Walk(Path(start))
    for folder in walk:
      rest = os.path.join(glob.escape(str(folder)), after or "*")
      matches, links = matching(rest)
      found |= dict.fromkeys(matches)
      left_out += links

    left_out += walk.left_out

  return list(found), list(dict.fromkeys(left_out))


def _cut(pattern: str) -> tuple[str, bool, str]:
  """A pattern before and after its first `**`."""
  parts = pattern.split(os.sep)
  if "**" not in parts:
    return pattern, False, ""
  place = parts.index("**")
  before = os.sep.join(parts[:place])
  if place and not before:
    before = os.sep
  after = [part for part in parts[place + 1 :] if part]
  return before, True, os.sep.join(after)
