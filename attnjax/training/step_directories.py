"""What lies on the disk below a run's checkpoints, and moving it safely.

A step is a directory named by its number. It gets its name by one rename, so a
name without a suffix means that the save was complete.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attnjax.config import check_local
from attnjax.training import digests

__all__ = [
  "DAMAGED",
  "REPLACED",
  "about",
  "committed",
  "drop_replaced",
  "metric",
  "newest_whole",
  "prepare",
  "put_aside",
  "put_back_replaced",
  "remove_uncommitted",
  "seal",
]


REPLACED = ".replaced"
DAMAGED = ".damaged"
_UNCOMMITTED = ".orbax-checkpoint-tmp"
_ABOUT = "about.json"  # step, metric and leaves; digested like every file
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
  """Removes what a killed save left behind."""
  for path in root.glob(f"*{_UNCOMMITTED}*"):
    shutil.rmtree(path)


def seal(root: Path, about: dict[str, Any]) -> None:
  """Writes what a step is, and its digests, just before it is committed."""
  (path,) = root.glob(f"{about['step']}{_UNCOMMITTED}*")
  digests.write_durably(path / _ABOUT, json.dumps(about))
  digests.write(path, ignore=_REWRITTEN)


def about(path: Path) -> dict[str, Any]:
  """What `seal` wrote of a whole step: step, metric and leaves."""
  return json.loads((path / _ABOUT).read_bytes())


def metric(path: Path) -> float | None:
  """The metric a step was saved with, if the file that says so is whole."""
  if digests.problem(path, only=(_ABOUT,)) is not None:
    return None
  return about(path)["metric"]


def newest_whole(root: Path, steps: Sequence[int]) -> list[Any]:
  """The newest step that is whole, or None, and what ails each newer one."""
  damaged: list[tuple[int, str]] = []
  for step in sorted(steps, reverse=True):
    what = _problem(root / str(step), step)
    if what is None:
      return [step, damaged]
    damaged.append((step, what))
  return [None, damaged]


def put_aside(root: Path, steps: Sequence[int], suffix: str) -> list[str]:
  """Renames steps, so that they can be saved again; returns the new names."""
  names = []
  for step in steps:
    names.append(next(_unused(root, f"{step}{suffix}")))
    os.rename(root / str(step), root / names[-1])
  return names


def drop_replaced(root: Path) -> None:
  """Removes each replaced step whose replacement is there."""
  for path, step in _replaced(root):
    if step.exists():
      shutil.rmtree(path)


def put_back_replaced(root: Path) -> None:
  """Gives a replaced step its name back where the replacement never came."""
  drop_replaced(root)
  for path, step in _replaced(root):
    os.rename(path, step)


def _replaced(root: Path) -> Iterator[tuple[Path, Path]]:
  """Each replaced step's directory, and that of its replacement."""
  for path in sorted(root.glob(f"*{REPLACED}")):
    yield path, path.with_name(path.name.removesuffix(REPLACED))


def _problem(path: Path, step: int) -> str | None:
  """What is wrong with a step's directory, or None."""
  what = digests.problem(path, ignore=_REWRITTEN)
  if what is None and about(path)["step"] != step:
    return f"{_ABOUT} says that this is step {about(path)['step']}"
  return what


def _unused(root: Path, name: str) -> Iterator[str]:
  """Names like `name` that nothing has yet."""
  number = 1
  while True:
    candidate = name if number == 1 else f"{name}-{number}"
    if not (root / candidate).exists():
      yield candidate
    number += 1
