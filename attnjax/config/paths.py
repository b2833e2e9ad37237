"""Refusal of bucket addresses where a local path is needed."""

import os
import re

__all__ = ["check_local"]

# One slash, for `pathlib` makes `gs:/bucket` of `gs://bucket`. Two letters or
# more, for one letter is a drive of Windows.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def check_local(path: str | os.PathLike[str], name: str) -> None:
  """Refuses the address of a bucket such as `gs://bucket/run`.

  Args:
    path: as it was given.
    name: of the argument or flag.

  Raises:
    ValueError: the path is an address.

  >>> check_local("runs/first", "workdir")
  >>> check_local("gs://bucket/first", "workdir")
  Traceback (most recent call last):
  ValueError: workdir must be a directory of a mounted file system, got the
  address 'gs://bucket/first'; mount the bucket (gcsfuse or mountpoint-s3, for
  instance) and name where it is
  """
  text = os.fspath(path)
  if _ADDRESS.match(text):
    raise ValueError(
      f"{name} must be a directory of a mounted file system, got the address"
      f" {text!r}; mount the bucket (gcsfuse or mountpoint-s3, for instance)"
      " and name where it is"
    )
