"""Work directories, local or in a bucket: parsing, write checks, mirrors."""

import hashlib
import re
import shutil
import subprocess
import uuid
from pathlib import Path

from attnjax.config import check_local
from launch.names import check_bucket, check_folder
from launch.writable import check_writable

__all__ = [
  "MOUNT",
  "OPTIONS",
  "bucket_of",
  "check_bucket_has",
  "check_place",
  "directory_of",
  "mirror",
  "mounted",
]

MOUNT = "/checkpoints"  # of a bucket, where a job runs
# Of gcsfuse. A checkpoint is written under another name and moved. In a bucket
# without folders (no hierarchical namespace) that is a copy of every object,
# which gcsfuse refuses by itself on most machines; the number of objects is the
# one that its own profile for checkpoints has.
OPTIONS = ("implicit-dirs", "rename-dir-limit=200000")

# Of each scheme the program that knows it, and how it copies.
_COPY = {"gs": ("gcloud", "storage", "cp"), "s3": ("aws", "s3", "cp")}
_DELETE = {"gs": ("gcloud", "storage", "rm"), "s3": ("aws", "s3", "rm")}
_MIRROR = {
  "gs": (
    *("gcloud", "storage", "rsync", "--recursive"),
    "--delete-unmatched-destination-objects",
  ),
  "s3": ("aws", "s3", "sync", "--delete"),
}
# gcloud takes regular expressions, and aws globs.
_LEAVE_OUT = {"gs": ".*checkpoints/.*", "s3": "*checkpoints/*"}


def check_place(place: str) -> None:
  """Checks by a test file that a directory or bucket can be written.

  Args:
    place: a directory, made already or not; or `gs://...` or `s3://...`, to
      which a file is written, overwritten and deleted.

  Raises:
    ValueError: names the place and the obstacle.
  """
  if "://" not in place:
    check_writable(Path(place).expanduser())
    return
  bucket_of(place)
  scheme = _scheme(place)
  target = f"{place.rstrip('/')}/.writable-{uuid.uuid4().hex}"
  for _ in range(2):  # a file that is added to is written over
    _call((*_COPY[scheme], "-", target), place)
  _call((*_DELETE[scheme], target), place)


def bucket_of(place: str) -> tuple[str, str]:
  """Splits an address into (bucket, folder).

  Raises:
    ValueError: the place is no bucket, for a rented machine has no other disk
      that outlives it; or its name would be read in another way where the
      bucket is mounted, or by a shell.

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

  check_bucket(scheme, bucket)
  check_folder(place, folder.strip("/"))
  return f"{scheme}://{bucket}", folder.strip("/")


def directory_of(place: str, whose: str) -> Path:
  """The absolute path of a local directory; refuses a bucket.

  Args:
    place: as it was given.
    whose: the machines that must see it, such as "all nodes".

  Raises:
    ValueError: the place is an address.

  >>> directory_of("gs://mine/x", "all nodes")
  Traceback (most recent call last):
  ValueError: workdir: expected a directory that all nodes see, got
  'gs://mine/x'; mount the bucket, and name where it is
  """
  if "://" in place:
    raise ValueError(
      f"workdir: expected a directory that {whose} see, got {place!r}; mount"
      " the bucket, and name where it is"
    )

  check_local(place, "workdir")

  try:
    return Path(place).expanduser().resolve()
  except RuntimeError as error:  # ~nobody/runs
    raise ValueError(f"workdir: {place!r}: {error}") from None


def mounted(place: str) -> str:
  """The path under which a folder of a bucket is mounted in a job.

  >>> mounted("gs://mine/runs/first")
  '/checkpoints/runs/first'
  """
  return f"{MOUNT}/{bucket_of(place)[1]}"


def mirror(place: str, folder: Path) -> Path:
  """Copies a folder of a bucket to a local directory, without checkpoints.

  Args:
    place: a directory, which is its own mirror, or a folder of a bucket;
      nothing need be there yet.
    folder: of all mirrors. That of a bucket is in it, with a digest of the
      whole address in its name, so that no two places share one.

  Raises:
    ValueError: the bucket is not there, or not to be read.
  """
  if "://" not in place:
    return Path(place).expanduser().resolve()

  scheme = _scheme(place)
  whole = place.rstrip("/")
  # The address as a name may be cut or collide: the digest keeps it unique.
  digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
  copy = folder / f"{re.sub(r'[^A-Za-z0-9.]+', '-', whole)[:80]}-{digest}"
  copy.mkdir(parents=True, exist_ok=True)
  # aws copies nothing from nowhere, and is content; gcloud is not.
  if scheme == "gs" and _has_nothing(scheme, place):
    shutil.rmtree(copy)
    copy.mkdir()
  else:
    skip = f"--exclude={_LEAVE_OUT[scheme]}"
    _call((*_MIRROR[scheme], place, str(copy), skip), place)

  return copy.resolve()


def check_bucket_has(name: str, address: str) -> None:
  """Checks that a bucket has files at an address.

  Args:
    name: of the setting that has it.
    address: a file, a folder or a glob.

  Raises:
    ValueError: nothing is there, or it is not to be read.
  """
  if _has_nothing(_scheme(address), address):
    raise ValueError(
      f"{name}: expected files at {address}, and there are none; copy them to"
      " the bucket, or name where they are"
    )


def _has_nothing(scheme: str, place: str) -> bool:
  """Whether a bucket has no object at an address."""
  begin = re.split(r"[*?\[]", place)[0]  # all of a glob that aws understands
  look = {
    "gs": ("gcloud", "storage", "ls", place),
    "s3": ("aws", "s3", "ls", begin),
  }

  try:
    _call(look[scheme], place)
  except _Refused as refused:
    # aws says nothing of nothing, and fails.
    if refused.why == "no reason" or _NO_OBJECTS in refused.why:
      return True
    raise

  return False


_NO_OBJECTS = "One or more URLs matched no objects"


class _Refused(ValueError):
  """Error of `gcloud` or `aws`.

  Args:
    place: the address it was called for.
    command: the command line.
    why: the last line of its output.
  """

  def __init__(self, place: str, command: tuple[str, ...], why: str):
    super().__init__(
      f"workdir: {place} cannot be used: {' '.join(command[:3])}: {why};"
      " log in, or name a bucket that is yours"
    )
    self.why = why


def _scheme(place: str) -> str:
  """The scheme of an address, `gs` or `s3`."""
  scheme, separator, _ = place.partition("://")
  if not separator or scheme not in _COPY:
    raise ValueError(
      f"workdir: expected gs://bucket/folder or s3://bucket/folder, got"
      f" {place!r}; what is rented does not outlive the job, a bucket does"
    )
  return scheme


def _call(command: tuple[str, ...], place: str) -> None:
  """Runs `gcloud` or `aws` with empty standard input; raises if it fails."""
  if shutil.which(command[0]) is None:
    raise ValueError(
      f"workdir: {place} needs {command[0]!r} to be tried, and it is not"
      " installed here; install it and log in"
    )

  # Empty input: it is the content of the test file, and answers no question.
  done = subprocess.run(
    command, input="", capture_output=True, text=True, check=False
  )
  if done.returncode:
    why = (done.stderr or done.stdout).strip().splitlines() or ["no reason"]
    raise _Refused(place, command, why[-1])
