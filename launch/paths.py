"""Makes the paths of a job absolute, or maps them to its mounted bucket.

A job runs in this checkout or in one on another machine, and not in the
directory of its command. So every path among its settings is rewritten to
refer to the same file there.
"""

import dataclasses
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from attnjax.config import check, check_local, leaves
from launch.job import Job, config_of
from launch.place import (
  MOUNT,
  bucket_of,
  check_bucket_has,
  check_place,
  directory_of,
)

__all__ = ["check_bucket_of", "with_absolute_paths", "with_mounted_paths"]


def with_absolute_paths(job: Job, whose: str) -> Job:
  """Returns the job with absolute paths, each checked to exist.

  Args:
    job: as it was typed, in the working directory of this process.
    whose: the machines that must see the place, such as "all nodes".

  Raises:
    ValueError: the place or a path is an address of a bucket, nothing is
      where a path leads, or the job is one that no experiment would take.

  >>> from launch.job import Job
  >>> from pathlib import Path
  >>> job = Job("language_model", overrides=(f"data.path={__file__}",))
  >>> job = with_absolute_paths(job, "this machine")
  >>> job.overrides == (f"data.path={__file__}",), Path(job.place).is_absolute()
  (True, True)
  """
  place = str(directory_of(job.directory, whose))
  job = dataclasses.replace(_with_paths(job, _absolute), place=place)
  check(config_of(job))
  return job


def with_mounted_paths(job: Job) -> Job:
  """Returns the job with its `gs://` paths mapped to the mounted bucket.

  Args:
    job: its place is a folder of a bucket.

  Raises:
    ValueError: a setting names a file of this machine, which a rented one does
      not see; or the place is no bucket.

  >>> import dataclasses
  >>> from launch.job import Job
  >>> job = Job("language_model", place="gs://mine/run")
  >>> job = dataclasses.replace(job, overrides=("data.path=gs://mine/a/*.txt",))
  >>> with_mounted_paths(job).overrides
  ('data.path=/checkpoints/a/*.txt',)
  """
  bucket, _ = bucket_of(job.directory)

  def mounted(name: str, text: str) -> str:
    inside = text.removeprefix(f"{bucket}/").removeprefix(f"{MOUNT}/")
    if inside == text or ".." in inside.split("/"):
      raise ValueError(
        f"{name}: a rented machine does not see the files of this one, got"
        f" {text!r}; copy them to the bucket of --workdir, which is mounted"
        f" there, and give --config.{name}={bucket}/..."
      )
    return f"{MOUNT}/{inside}"

  return _with_paths(job, mounted)


def check_bucket_of(place: str, jobs: Sequence[Job]) -> None:
  """Checks that a bucket can be written and has the files that jobs read.

  Args:
    place: of the bucket, that jobs write to.
    jobs: as `with_mounted_paths` made them.

  Raises:
    ValueError: with the remedy.
  """
  check_place(place)
  bucket, _ = bucket_of(place)
  asked = dict.fromkeys(path for job in jobs for path in _paths_of(job))
  for name, text in asked:
    check_bucket_has(name, f"{bucket}{text.removeprefix(MOUNT)}")


def _paths_of(job: Job) -> Iterator[tuple[str, str]]:
  """Yields (setting, path) for each path among the settings of a job."""
  for leaf in leaves(config_of(job)):
    if leaf.path and leaf.value:
      several = isinstance(leaf.value, tuple)
      for text in leaf.value if several else (leaf.value,):
        yield leaf.name, text


def _with_paths(job: Job, changed: Callable[[str, str], str]) -> Job:
  """Returns the job with a function applied to each path of its settings.

  Args:
    job: of an experiment.
    changed: (name of a setting, path) -> path.
  """
  overrides = list(job.overrides)
  for leaf in leaves(config_of(job)):
    if not leaf.path or not leaf.value:
      continue
    several = isinstance(leaf.value, tuple)
    before = leaf.value if several else (leaf.value,)
    after = tuple(changed(leaf.name, text) for text in before)
    # A list is one flag, with commas between its values.
    if several and any("," in text for text in after):
      raise ValueError(
        f"{leaf.name}: expected paths without commas, which are between them,"
        f" got {after}; give it from a directory without"
      )
    if after != before:
      overrides = [o for o in overrides if o.partition("=")[0] != leaf.name]
      overrides.append(f"{leaf.name}={','.join(after)}")

  return dataclasses.replace(job, overrides=tuple(overrides))


def _absolute(name: str, text: Any) -> str:
  """Absolute path of a file, a directory or a glob that must match."""
  check_local(text, name)
  try:
    path = Path(text).expanduser()
  except RuntimeError as error:  # ~nobody/texts
    raise ValueError(f"{name}: {text!r}: {error}") from None

  if not text.strip():
    return text

  here = os.getcwd()  # of no matter to a path that is absolute
  if glob.has_magic(text) and not os.path.lexists(path):
    here = glob.escape(here)  # only what was typed is a pattern

  return str(Path(here, path))
