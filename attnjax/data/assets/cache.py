"""Paths of the asset cache, and the error of an asset that is missing."""

import difflib
import os
from pathlib import Path

from attnjax.data.assets.table import ASSETS, Asset

__all__ = [
  "AssetError",
  "by_hand",
  "cache_root",
  "cached",
  "failure",
  "folder",
  "known",
]


class AssetError(OSError):
  """An asset is not available; the message has the cause and the remedy.

  A program that it ends exits with 69, EX_UNAVAILABLE of sysexits.h, which `os`
  has on some systems only.

  >>> issubclass(AssetError, OSError), AssetError.exit_code
  (True, 69)
  """

  exit_code = 69


def known(name: str) -> Asset:
  """The asset of a name; a ValueError lists the names."""
  if name in ASSETS:
    return ASSETS[name]
  close = difflib.get_close_matches(name, ASSETS, n=1)
  hint = f"Did you mean {close[0]!r}? " if close else ""
  raise ValueError(
    f"name={name!r} is no asset. {hint}Expected one of {sorted(ASSETS)}."
  )


def cache_root() -> Path:
  """The directory that holds every asset; it may not exist yet."""
  if chosen := os.environ.get("ATTNJAX_CACHE"):
    return Path(chosen).expanduser()
  # `or`: to the XDG specification an empty variable is one that is not set.
  base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return Path(base).expanduser() / "attnjax"


def folder(asset: Asset) -> Path:
  """Directory of an asset's unpacked files; its name has the pinned hash."""
  # The hash is in the name: a new pin never meets the files of an old one.
  return cache_root() / "assets" / f"{asset.name}-{asset.sha256[:12]}"


def by_hand(asset: Asset) -> Path:
  """Path at which a user can put a package file by hand."""
  return cache_root() / "packages" / asset.file


def cached(name: str) -> Path | None:
  """The directory of an asset's unpacked files, if it is in the cache.

  Never downloads. A directory under the cache is always whole: it got its name
  by one rename, after every check.

  Args:
    name: a key of `ASSETS`.

  Returns:
    The directory, laid out as in the package; None where `fetch` has not put
    it yet.

  Raises:
    ValueError: there is no asset of that name.

  >>> cached("cmudic")
  Traceback (most recent call last):
    ...
  ValueError: name='cmudic' is no asset. Did you mean 'cmudict'? Expected ...
  """
  place = folder(known(name))
  return place if place.is_dir() else None


def failure(asset: Asset, what: str) -> AssetError:
  """The AssetError of an asset: what failed, and how to get the file."""
  remedy = (
    f"Get the file {asset.file} ({asset.kind} package {asset.package},"
    f" version {asset.version}) on a machine that can, and put it at"
    f" {by_hand(asset)}"
  )

  if asset.kind == "debian":
    remedy = (
      "On Debian, `apt-get update` may help, and so does `apt-get install"
      f" {asset.package}`: installed files serve if they are the pinned ones."
      f" Or: {remedy[0].lower()}{remedy[1:]}"
    )

  return AssetError(f"asset {asset.name!r}: {what}. {remedy}.")
