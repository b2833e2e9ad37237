"""The directories of checkpointed steps: names, digests, and safe renames.

A step is a directory named by its number. It gets its name by one rename, so a
name without a suffix means that the save was complete.

Orbax restores a file with a flipped bit without an error, for its compression
has no checksum. So `digests.json` holds the SHA-256 of every file of a
step: written before the step is committed, checked before a step is restored.
"""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attnjax.config import check_local
from attnjax.training.workdir import write_durably

__all__ = [
  "DAMAGED",
  "MANIFEST",
  "REPLACED",
  "about",
  "committed",
  "drop_replaced",
  "find_damage",
  "metric",
  "newest_whole",
  "prepare",
  "put_aside",
  "put_back_replaced",
  "remove_uncommitted",
  "seal",
  "write_digests",
]


REPLACED = ".replaced"
DAMAGED = ".damaged"
MANIFEST = "digests.json"
_ALGORITHM = "sha256"
_UNCOMMITTED = ".orbax-checkpoint-tmp"  # in Orbax's names of unfinished steps
_ABOUT = "about.json"  # step, metric and leaf specs; digested like every file
# Orbax rewrites these after the digests are taken; nothing here reads them.
_REWRITTEN = ("_CHECKPOINT_METADATA", "commit_success.txt")


def prepare(directory: str | Path) -> Path:
  """The absolute path of a directory, which is made if need be.

  Raises:
    ValueError: it is a URL or a file, or cannot be made.

  >>> prepare("gs://bucket/run")
  Traceback (most recent call last):
  ValueError: directory must be a directory of a mounted file system, got the
  address 'gs://bucket/run'; mount the bucket (gcsfuse or mountpoint-s3, for
  instance) and name where it is
  """
  check_local(directory, "directory")
  path = Path(directory).resolve()
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ValueError(
      f"directory: {path} cannot be made ({error.strerror}); name a directory "
      "that can be written"
    ) from error

  return path


def committed(root: Path) -> list[int]:
  """The steps whose directory has its name, and so is complete."""
  return sorted(
    int(path.name) for path in root.iterdir() if path.name.isdigit()
  )


def remove_uncommitted(root: Path) -> None:
  """Removes the directories of saves that were killed."""
  for path in root.glob(f"*{_UNCOMMITTED}*"):
    shutil.rmtree(path)


def seal(root: Path, about: dict[str, Any]) -> None:
  """Writes `about.json` and the digests into a step that is not committed yet.

  Args:
    root: directory of the checkpoints.
    about: step, metric and leaf specs.
  """
  # Exactly one: remains of killed saves are removed, and a save waits for the
  # one before.
  (path,) = root.glob(f"{about['step']}{_UNCOMMITTED}*")
  write_durably(path / _ABOUT, "w", json.dumps(about))
  write_digests(path, ignore=_REWRITTEN)


def about(path: Path) -> dict[str, Any]:
  """The content of `about.json` of a step: step, metric and leaf specs."""
  return json.loads((path / _ABOUT).read_bytes())


def metric(path: Path) -> float | None:
  """The metric that a step was saved with; None if `about.json` is damaged."""
  if find_damage(path, only=(_ABOUT,)) is not None:
    return None
  return about(path)["metric"]


def newest_whole(root: Path, steps: Sequence[int]) -> list[Any]:
  """The newest undamaged step, and the damage of each newer one.

  Args:
    root: directory of the checkpoints.
    steps: numbers of the steps there.

  Returns:
    `[step or None, [(damaged step, what is wrong), ...]]`: a list and not a
    tuple, for it is sent between processes as JSON.
  """
  damaged: list[tuple[int, str]] = []
  for step in sorted(steps, reverse=True):
    path = root / str(step)
    damage = find_damage(path, ignore=_REWRITTEN)
    # Whole files under another step's name: somebody renamed the directory.
    if damage is None and about(path)["step"] != step:
      damage = f"{_ABOUT} says that this is step {about(path)['step']}"

    if damage is None:
      return [step, damaged]
    damaged.append((step, damage))

  return [None, damaged]


def put_aside(root: Path, steps: Sequence[int], suffix: str) -> list[str]:
  """Renames steps, so that they can be saved again; returns the new names."""
  names = []
  for step in steps:
    # The first name that is free: the same step may be damaged twice.
    name = f"{step}{suffix}"
    numbers = itertools.count(2)
    while (root / name).exists():
      name = f"{step}{suffix}-{next(numbers)}"

    os.rename(root / str(step), root / name)
    names.append(name)

  return names


def drop_replaced(root: Path) -> None:
  """Removes the replaced steps whose replacement was committed."""
  for path, step in _replaced_steps(root):
    if step.exists():
      shutil.rmtree(path)


def put_back_replaced(root: Path) -> None:
  """Renames replaced steps back whose replacement was never committed."""
  drop_replaced(root)
  for path, step in _replaced_steps(root):
    os.rename(path, step)


def _replaced_steps(root: Path) -> Iterator[tuple[Path, Path]]:
  """Pairs of a replaced step's directory and that of its replacement."""
  for path in sorted(root.glob(f"*{REPLACED}")):
    yield path, path.with_name(path.name.removesuffix(REPLACED))


def write_digests(directory: str | Path, *, ignore: Sequence[str] = ()) -> None:
  """Writes the manifest of every file below a directory.

  Args:
    directory: the step; its files must not change any more.
    ignore: names at the top of `directory` to leave out, because another
      program still rewrites them and nobody reads them.

  Raises:
    OSError: a file cannot be read, or the manifest cannot be written.

  >>> from pathlib import Path
  >>> import tempfile
  >>> folder = Path(tempfile.mkdtemp())
  >>> _ = (folder / "weights").write_bytes(b"1234")
  >>> write_digests(folder)
  >>> find_damage(folder) is None
  True
  >>> _ = (folder / "weights").write_bytes(b"1235")
  >>> find_damage(folder)
  'weights differs from its digest (a flipped bit, or it was overwritten)'
  """
  directory = Path(directory)
  names = sorted(_names(directory, ignore))
  found = zip(names, _digests(directory, names), strict=True)
  files = {
    name: {"size": (directory / name).stat().st_size, "digest": digest}
    for name, digest in found
  }
  manifest = {
    "algorithm": _ALGORITHM,
    "files": files,
    "seal": _hash_of_manifest(files),
  }
  write_durably(directory / MANIFEST, "w", json.dumps(manifest, indent=1))


def find_damage(
  directory: str | Path,
  *,
  ignore: Sequence[str] = (),
  only: Sequence[str] | None = None,
) -> str | None:
  """The first damaged, missing or unexpected file, or None if all are whole.

  Sizes and names are compared before anything is hashed, so a truncated or a
  missing file costs no time.

  Args:
    directory: what `write_digests` hashed.
    ignore: as in `write_digests`.
    only: the names to check; None checks every file, and that there is none
      that the manifest does not know.

  Returns:
    One clause that names the first bad file and what is wrong with it.

  Raises:
    PermissionError: a file may not be read, which is no damage.
  """
  directory = Path(directory)
  try:
    files = _read_manifest(directory)
    if only is None:
      found = set(_names(directory, ignore))
    else:
      found, files = set(only), {name: files[name] for name in only}
    return _first_damaged(directory, files, found)
  except PermissionError:
    raise
  except FileNotFoundError as error:
    return f"{_name_in_manifest(directory, error)} is missing"
  except OSError as error:
    return (
      f"{_name_in_manifest(directory, error)} cannot be read ({error.strerror})"
    )
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    return f"{MANIFEST} is not the manifest that was written ({error!r})"


def _first_damaged(
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

  # Hashed only where names and sizes agree, for hashing reads every byte.
  names = sorted(files)
  for name, digest in zip(names, _digests(directory, names), strict=True):
    if digest != files[name][1]:
      return (
        f"{name} differs from its digest (a flipped bit, or it was overwritten)"
      )

  return None


def _read_manifest(directory: Path) -> dict[str, tuple[int, str]]:
  """The manifest: each file's size and digest."""
  manifest = json.loads((directory / MANIFEST).read_bytes())
  if manifest["algorithm"] != _ALGORITHM:
    raise ValueError(f"unknown algorithm {manifest['algorithm']!r}")
  if manifest["seal"] != _hash_of_manifest(manifest["files"]):
    raise ValueError("it differs from its own digest")
  return {
    name: (entry["size"], entry["digest"])
    for name, entry in manifest["files"].items()
  }


def _hash_of_manifest(files: dict[str, Any]) -> str:
  """SHA-256 of the manifest: tells its own damage from that of a file."""
  text = json.dumps(files, sort_keys=True).encode()
  return hashlib.new(_ALGORITHM, text).hexdigest()


def _names(directory: Path, ignore: Sequence[str]) -> Iterator[str]:
  """Every file below `directory` except the manifest and the ignored."""
  for path in directory.rglob("*"):
    name = path.relative_to(directory).as_posix()
    if not path.is_dir() and name != MANIFEST and name not in ignore:
      yield name


def _digests(directory: Path, names: Sequence[str]) -> list[str]:
  """The digest of each file, in the order of the names."""

  def digest(name: str) -> str:
    with (directory / name).open("rb") as file:
      return hashlib.file_digest(file, _ALGORITHM).hexdigest()

  # Threads help: hashing and reading release the GIL.
  with ThreadPoolExecutor(max_workers=4) as pool:
    return list(pool.map(digest, names))


def _name_in_manifest(directory: Path, error: OSError) -> str:
  """The file an OSError is about, as the manifest would name it."""
  path = Path(str(error.filename or directory))
  if path.is_relative_to(directory) and path != directory:
    return path.relative_to(directory).as_posix()
  return str(path)
