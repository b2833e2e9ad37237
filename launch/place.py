"""Where checkpoints go: tried before anything is queued."""

import shutil
import subprocess
import uuid
from pathlib import Path

from launch.writable import check_writable

__all__ = ["MOUNT", "bucket_of", "check_place", "mirror", "mounted"]

MOUNT = "/checkpoints"  # of a bucket, where a job runs

# Of each scheme the program that knows it, and how it copies.
_COPY = {"gs": ("gcloud", "storage", "cp"), "s3": ("aws", "s3", "cp")}
_DELETE = {"gs": ("gcloud", "storage", "rm"), "s3": ("aws", "s3", "rm")}
_MIRROR = {
  "gs": ("gcloud", "storage", "rsync", "--recursive"),
  "s3": ("aws", "s3", "sync"),
}
_LEAVE_OUT = {"gs": ".*checkpoints/.*", "s3": "*checkpoints/*"}


def check_place(place: str) -> None:
  """Refuses a place where nothing can be written, and leaves nothing behind.

  Args:
    place: a directory, made already or not; or `gs://...` or `s3://...`, to
      which a file is written and taken away again.

  Raises:
    ValueError: names the place, and what stands in the way.
  """
  if "://" not in place:
    check_writable(Path(place).expanduser())
    return
  scheme = _scheme(place)
  target = f"{place.rstrip('/')}/.writable-{uuid.uuid4().hex}"
  _call((*_COPY[scheme], "-", target), place)
  _call((*_DELETE[scheme], target), place)


def bucket_of(place: str) -> tuple[str, str]:
  """The bucket of a place, and the folder inside.

  Raises:
    ValueError: the place is no bucket; a rented machine has no other disk
      that outlives it.

  >>> bucket_of("gs://mine/runs/first")
  ('gs://mine', 'runs/first')
  """
  _scheme(place)
  scheme, _, rest = place.partition("://")
  bucket, _, folder = rest.partition("/")
  if not bucket or not folder.strip("/"):
    raise ValueError(
      f"workdir: expected {scheme}://bucket/folder, got {place!r}; name a"
      " folder, so that runs do not meet in the bucket"
    )
  return f"{scheme}://{bucket}", folder.strip("/")


def mounted(place: str) -> str:
  """The directory that a place of a bucket is where a job runs.

  >>> mounted("gs://mine/runs/first")
  '/checkpoints/runs/first'
  """
  return f"{MOUNT}/{bucket_of(place)[1]}"


def mirror(place: str, folder: Path) -> Path:
  """A directory here with what a place has, checkpoints left out.

  Args:
    place: a directory, which is its own mirror, or a bucket.
    folder: where to copy a bucket to.
  """
  if "://" not in place:
    return Path(place).expanduser().resolve()
  scheme = _scheme(place)
  folder.mkdir(parents=True, exist_ok=True)
  skip = f"--exclude={_LEAVE_OUT[scheme]}"
  _call((*_MIRROR[scheme], place, str(folder), skip), place)
  return folder.resolve()


def _scheme(place: str) -> str:
  """`gs` or `s3`."""
  scheme, separator, _ = place.partition("://")
  if not separator or scheme not in _COPY:
    raise ValueError(
      f"workdir: expected gs://bucket/folder or s3://bucket/folder, got"
      f" {place!r}; what is rented does not outlive the job, a bucket does"
    )
  return scheme


def _call(command: tuple[str, ...], place: str) -> None:
  """Runs a program of a cloud; standard input is empty."""
  if shutil.which(command[0]) is None:
    raise ValueError(
      f"workdir: {place} needs {command[0]!r} to be tried, and it is not"
      " installed here; install it and log in"
    )
  done = subprocess.run(
    command, input="", capture_output=True, text=True, check=False
  )
  if done.returncode:
    why = (done.stderr or done.stdout).strip().splitlines() or ["no reason"]
    raise ValueError(
      f"workdir: {place} cannot be used: {' '.join(command[:3])}: {why[-1]};"
      " log in, or name a bucket that is yours"
    )
