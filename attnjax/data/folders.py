"""Recursive walks and globs that follow links to directories without loops."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Walk", "matching"]


class Walk:
  """Walk over a directory and those below it, but hidden ones.

  Links are followed, except to a directory visited before or to one that
  contains the root: such links can form a loop. They are in `left_out`.

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
    """A directory, then those in it, sorted by name."""
    yield folder
    try:
      inside = sorted(folder.iterdir())
    except OSError as error:
      raise ValueError(
        f"path: {error.filename!r} cannot be read ({error.strerror}); make it"
        " readable or leave it out of the path."
      ) from error

    # Directories before links: one that is also linked to is visited at its own
    # path.
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
  """Paths that a glob matches, each once, and the links not followed.

  As `glob.glob`, but for `**`, which there follows loops of links.

  Args:
    pattern: with `*`, `?`, `[...]` and `**`.

  >>> matching("no/such/**/file")
  ([], [])
  """
  before, starred, after = _split_at_stars(pattern)
  if not starred:
    return [Path(match) for match in sorted(glob.glob(pattern))], []

  found: dict[Path, None] = {}
  left_out: list[Path] = []

  for start in sorted(glob.glob(before)) if before else ["."]:
    if not os.path.isdir(start):
      continue

    walk = Walk(Path(start))
    for folder in walk:
      # Escaped: this directory was found, and a * in its name is no pattern.
      rest = os.path.join(glob.escape(str(folder)), after or "*")
      matches, links = matching(rest)
      found |= dict.fromkeys(matches)
      left_out += links

    left_out += walk.left_out

  # Two `**` may reach a file in several ways: it is given once.
  return list(found), list(dict.fromkeys(left_out))


def _split_at_stars(pattern: str) -> tuple[str, bool, str]:
  """(pattern before its first `**`, whether there is one, pattern after)."""
  parts = pattern.split(os.sep)
  if "**" not in parts:
    return pattern, False, ""
  place = parts.index("**")
  before = os.sep.join(parts[:place])
  # `/**`: before the first separator stands nothing, and it means the root.
  if place and not before:
    before = os.sep
  after = [part for part in parts[place + 1 :] if part]
  return before, True, os.sep.join(after)
