"""Versions of the site side by side: a folder for each, and a list of them.

Each tag is built by the files that it has itself, so that an old version keeps
the pages and the look it had.
"""

import html
import io
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

__all__ = ["build_tag", "write_list"]

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>attnjax: versions of this site</title>
<style>
  body {{ font: 1rem/1.6 system-ui, sans-serif; margin: 3rem auto;
         max-width: 36rem; padding: 0 1rem; color-scheme: light dark; }}
</style>
<h1>attnjax</h1>
<p>Versions of this site, the newest release first.
<ul>
{lines}
</ul>
</html>
"""


def build_tag(
  root: pathlib.Path,
  tag: str,
  out: pathlib.Path,
  repository: str = "",
  *,
  programs: bool = True,
) -> int:
  """Builds the site of a tag into a folder of its name; the exit status.

  Args:
    root: of the repository.
    tag: of git.
    out: folder of all versions.
    repository: address at which files are shown; "" is none.
    programs: whether the code of its pages is run first.

  Raises:
    ValueError: there is no such tag, or it is older than the site.
  """
  known = _git(root, "tag", "--list").decode().split()
  if tag not in known:
    raise ValueError(f"--tag must be one of {known}, got {tag!r}")
  archive = _git(root, "archive", "--format=tar", tag)

  with tempfile.TemporaryDirectory() as place:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
      tar.extractall(place, filter="data")
    if not (pathlib.Path(place) / "docs" / "site").is_dir():
      raise ValueError(f"{tag} is older than docs/site and has no site")
    command = [sys.executable, "-m", "docs.site", f"--out={place}/made"]
    command += [f"--repository={repository}"] if repository else []
    command += [] if programs else ["--no-programs"]
    # From its own folder, so that its own attnjax and pages are read.
    done = subprocess.run(command, cwd=place, check=False)
    made = pathlib.Path(place) / "made" / "main"
    if done.returncode or not made.is_dir():
      return done.returncode or 1
    _replace(made, out / tag)

  write_list(out)
  return 0


def write_list(out: pathlib.Path) -> list[str]:
  """Writes ``index.html``, which lists the versions; returns their names.

  Args:
    out: folder of all versions.

  >>> with tempfile.TemporaryDirectory() as place:
  ...   for name in ("main", "v0.9.0", "v0.10.0"):
  ...     (pathlib.Path(place) / name).mkdir()
  ...     (pathlib.Path(place) / name / "index.html").touch()
  ...   write_list(pathlib.Path(place))
  ['v0.10.0', 'v0.9.0', 'main']
  """
  names = [path.parent.name for path in out.glob("*/index.html")]
  names.sort(key=_order, reverse=True)
  lines = "\n".join(
    f'  <li><a href="{html.escape(name)}/index.html">{html.escape(name)}</a>'
    + (" (the working tree)" if name == "main" else "")
    for name in names
  )
  (out / "index.html").write_text(_PAGE.format(lines=lines), encoding="utf-8")
  (out / ".nojekyll").touch()
  return names


def _order(name: str) -> tuple[bool, list[int], str]:
  """Numbers of a version, so that 0.10 is after 0.9."""
  numbers = [int(number) for number in re.findall(r"\d+", name)]
  return bool(numbers), numbers, name


def _git(root: pathlib.Path, *arguments: str) -> bytes:
  """What git writes."""
  return subprocess.run(
    ["git", "-C", str(root), *arguments], capture_output=True, check=True
  ).stdout


def _replace(made: pathlib.Path, to: pathlib.Path) -> None:
  """Puts a folder in the place of another."""
  shutil.rmtree(to, ignore_errors=True)
  to.parent.mkdir(parents=True, exist_ok=True)
  shutil.move(made, to)
