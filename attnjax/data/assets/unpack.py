"""Safe unpacking of wheels, npm tarballs and Debian packages.

A wheel is a zip, an npm package a tar, a Debian package an `ar` archive with a
tar in it. Only regular files are written: links and devices of a tar, absolute
paths and `..` are refused.
"""

import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath

__all__ = [
  "unpack",
]


_AR_MAGIC = b"!<arch>\n"
# Bytes: the name is in 0 to 16, the size as decimal text in 48 to 58.
_AR_HEADER = 60
_BROKEN = (
  zipfile.BadZipFile,
  tarfile.TarError,
  gzip.BadGzipFile,
  zlib.error,
  lzma.LZMAError,
  EOFError,
)


def unpack(package: Path, into: Path) -> None:
  """Unpacks a .whl, .tgz or .deb into a new directory.

  Args:
    package: the archive.
    into: the directory, which is made.

  Raises:
    ValueError: the archive is broken, of another kind, or has members that are
      no regular files below its root.
  """
  into.mkdir()
  try:
    for name, content in _members(package):
      target = into / _inside(name)
      target.parent.mkdir(parents=True, exist_ok=True)
      target.write_bytes(content)
  except _BROKEN as error:
    raise ValueError(f"{package.name} is a broken archive: {error}") from error


def _members(package: Path) -> Iterator[tuple[str, bytes]]:
  """(name, content) of each regular file of an archive."""
  if package.suffix == ".whl":
    yield from _zip_members(package)
  elif package.suffix == ".tgz":
    yield from _tar_members(package.read_bytes())
  elif package.suffix == ".deb":
    yield from _tar_members(_debian_data(package))
  else:
    raise ValueError(f"{package.name}: expected a .whl, a .tgz or a .deb")


def _zip_members(package: Path) -> Iterator[tuple[str, bytes]]:
  """The files of a zip archive."""
  # A link in a zip is read as a plain file with its target as the content.
  with zipfile.ZipFile(package) as archive:
    for info in archive.infolist():
      if not info.is_dir():
        with archive.open(info) as content:
          yield info.filename, content.read()


def _tar_members(content: bytes) -> Iterator[tuple[str, bytes]]:
  """The files of a tar archive of any compression."""
  with tarfile.open(fileobj=BytesIO(content), mode="r:*") as archive:
    for member in archive:
      if member.isdir():
        continue
      # Links and devices have no content of their own, and are refused.
      file = archive.extractfile(member) if member.isreg() else None
      if file is None:
        raise ValueError(f"{member.name!r} is neither a file nor a directory")
      yield member.name, file.read()


def _debian_data(package: Path) -> bytes:
  """The tar of a Debian package's files, from the `ar` archive around it."""
  whole = package.read_bytes()
  place = len(_AR_MAGIC)
  while whole.startswith(_AR_MAGIC) and place + _AR_HEADER <= len(whole):
    header = whole[place : place + _AR_HEADER]
    name, size = header[:16].decode("ascii", "replace"), header[48:58]
    if not size.strip().isdigit():
      break
    place += _AR_HEADER
    if name.startswith("data.tar"):
      return whole[place : place + int(size)]
    place += int(size) + int(size) % 2  # members begin at even places

  raise ValueError(f"{package.name} is no Debian package: it has no data.tar")


def _inside(name: str) -> PurePosixPath:
  """The path of a member; a ValueError where it leaves the directory."""
  path = PurePosixPath(name)
  # On Windows a backslash separates folders and a colon names a drive.
  if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
    raise ValueError(f"{name!r} would be written outside of its directory")
  return path
