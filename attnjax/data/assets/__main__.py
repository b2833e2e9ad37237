"""`python -m attnjax.data.assets`: lists and downloads assets."""

import argparse
import sys
from collections.abc import Sequence

from attnjax.data.assets.cache import AssetError, cache_root, cached
from attnjax.data.assets.fetch import fetch
from attnjax.data.assets.table import ASSETS


def table() -> str:
  """One line an asset: name, version, registry, size, whether it is there.

  >>> table().splitlines()[0].startswith("cache: ")
  True
  """
  lines = [f"cache: {cache_root()}", ""]
  for asset in ASSETS.values():
    state = "cached" if cached(asset.name) else "absent"
    size = f"{asset.size / 1e6:.1f} MB"
    lines.append(
      f"{state}  {asset.name:21} {asset.kind:6} {size:>7}  {asset.about}"
      f"  [{asset.licence}]"
    )
  return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
  """Fetches the named assets, or prints the table; 69 if one is unavailable."""
  parser = argparse.ArgumentParser(
    prog="python -m attnjax.data.assets",
    description="Fetches pinned data and weights; without names, lists them.",
    epilog="Exit code 69: at least one cannot be had. Licences: DATA.md.",
  )
  parser.add_argument("names", nargs="*", metavar="name", help="what to fetch")
  parser.add_argument("--all", action="store_true", help="fetch every one")
  chosen = parser.parse_args(arguments)

  names = list(ASSETS) if chosen.all else chosen.names
  if unknown := sorted(set(names) - set(ASSETS)):
    parser.error(f"no asset {unknown}; expected some of {sorted(ASSETS)}")

  missing = 0
  for name in names:
    try:
      print(f"{name}: {fetch(name)}", flush=True)
    except AssetError as error:
      missing += 1
      print(f"error: {error}", file=sys.stderr, flush=True)

  if not names:
    print(table())

  return AssetError.exit_code if missing else 0


if __name__ == "__main__":
  sys.exit(main())
