"""A manifest of digests beside a checkpoint's files, and its check.

Orbax restores a file with a flipped bit without a word: its compression
carries no checksum. So every file of a step is hashed before the step is
committed, and hashed again before anything is read from it.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

__all__ = [
  "problem",
  "write",
  "write_durably",
]


MANIFEST = "digests.json"
_ALGORITHM = "sha256"


def write(directory: str | Path, *, ignore: Sequence[str] = ()) -> None:
  """Writes the manifest of every file below a directory.

  Args:
    directory: what to seal; its files must not change any more.
    ignore: names at the top of `directory` to leave out, because another
      program still rewrites them and nobody reads them.

  Raises:
    OSError: a file cannot be read, or the manifest cannot be written.

  >>> from pathlib import Path
  >>> import tempfile
  >>> folder = Path(tempfile.mkdtemp())
  >>> _ = (folder / "weights").write_bytes(b"1234")
  >>> write(folder)
  >>> problem(folder) is None
  True
  >>> _ = (folder / "weights").write_bytes(b"1235")
  >>> problem(folder)
  'weights differs from its digest (a flipped bit, or it was overwritten)'
  """
  directory = Path(directory)
  names = sorted(_names(directory, ignore))
  found = zip(names, _digests(directory, names), strict=True)
  files = {
    name: {"size": (directory / name).stat().st_size, "digest": digest}
    for name, digest in found
  }
  manifest = {"algorithm": _ALGORITHM, "files": files, "seal": _seal(files)}
  write_durably(directory / MANIFEST, json.dumps(manifest, indent=1))


def problem(
  directory: str | Path,
  *,
  ignore: Sequence[str] = (),
  only: Sequence[str] | None = None,
) -> str | None:
  """What is wrong with the files below a directory, or None if nothing is.

  Sizes and names are compared before anything is hashed, so a truncated or a
  missing file costs no time.

  Args:
    directory: what `write` sealed.
    ignore: as in `write`.
    only: the names to check; None checks every file, and that there is none
      that the manifest does not know.

  Returns:
    One clause that names the first bad file and what is wrong with it.

  Raises:
    PermissionError: a file may not be read, which is no damage.
  """
  directory = Path(directory)
  try:
    files = _read(directory)
    if only is None:
      found = set(_names(directory, ignore))
    else:
      found, files = set(only), {name: files[name] for name in only}
    return _compare(directory, files, found)
  except PermissionError:
    raise
  except FileNotFoundError as error:
    return f"{_relative(directory, error)} is missing"
  except OSError as error:
    return f"{_relative(directory, error)} cannot be read ({error.strerror})"
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    return f"{MANIFEST} is not the manifest that was written ({error!r})"


def write_durably(path: Path, text: str) -> None:
  """Writes a small text file and waits until the disk has it."""
  with path.open("w", encoding="utf-8") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


def _compare(
  directory: Path, files: dict[str, tuple[int, str]], found: set[str]
) -> str | None:
  """The first difference between the manifest and the files, or None."""
  for name in sorted(files.keys() | found):
    if name not in files:
      return f"{name} is unexpected: the manifest does not know it"
    path, size = directory / name, files[name][0]
    if not path.is_file():
      return f"{name} is missing"
    if path.stat().st_size != size:
      came = path.stat().st_size
      return f"{name} has {came} bytes where {size} were written"

  names = sorted(files)
  for name, digest in zip(names, _digests(directory, names), strict=True):
    if digest != files[name][1]:
      return (
        f"{name} differs from its digest (a flipped bit, or it was overwritten)"
      )

  return None


def _read(directory: Path) -> dict[str, tuple[int, str]]:
  """The manifest: each file's size and digest."""
  manifest = json.loads((directory / MANIFEST).read_bytes())
  if manifest["algorithm"] != _ALGORITHM:
    raise ValueError(f"unknown algorithm {manifest['algorithm']!r}")
  if manifest["seal"] != _seal(manifest["files"]):
    raise ValueError("it differs from its own digest")
  return {
    name: (entry["size"], entry["digest"])
    for name, entry in manifest["files"].items()
  }


def _seal(files: dict[str, Any]) -> str:
  """The digest of the manifest itself, so that it is named when it is bad."""
  text = json.dumps(files, sort_keys=True).encode()
  return hashlib.new(_ALGORITHM, text).hexdigest()


def _names(directory: Path, ignore: Sequence[str]) -> Iterator[str]:
  """Every file below `directory` except the manifest and the ignored."""
  for path in directory.rglob("*"):
    name = path.relative_to(directory).as_posix()
    if not path.is_dir() and name != MANIFEST and name not in ignore:
      yield name


def _digests(directory: Path, names: Sequence[str]) -> list[str]:
  """The digest of each file, on a few threads: hashing releases the GIL."""

  def digest(name: str) -> str:
    with (directory / name).open("rb") as file:
      return hashlib.file_digest(file, _ALGORITHM).hexdigest()

  with ThreadPoolExecutor(max_workers=4) as pool:
    return list(pool.map(digest, names))


def _relative(directory: Path, error: OSError) -> str:
  """The file an OSError is about, as the manifest would name it."""
  path = Path(str(error.filename or directory))
  if path.is_relative_to(directory) and path != directory:
    return path.relative_to(directory).as_posix()
  return str(path)
