"""``python -m docs.site`` builds the site, and fails where something is wrong.

Nothing is fetched, and what is built is opened from a folder or put on any
static host as it is.
"""

import argparse
import pathlib
import subprocess
import sys

from docs.site import versions
from docs.site.build import build

ROOT = pathlib.Path(__file__).parents[2]


def parser() -> argparse.ArgumentParser:
  """What the command takes."""
  flags = argparse.ArgumentParser("python -m docs.site", description=__doc__)
  flags.add_argument(
    "--out",
    type=pathlib.Path,
    default=ROOT / "build" / "site",
    help="folder of all versions; default build/site",
  )
  flags.add_argument(
    "--tag", help="build this tag of git, and not the working tree"
  )
  flags.add_argument(
    "--repository",
    default="",
    help="address at which files of the repository are shown, for links to"
    " them; without it they are shown as text",
  )
  flags.add_argument(
    "--programs",
    action=argparse.BooleanOptionalAction,
    default=True,
    help="run the code of the pages first, as the tests do; minutes",
  )
  return flags


def programs_fail(root: pathlib.Path) -> bool:
  """Whether the code of a page fails; pytest names the page and the line."""
  command = [sys.executable, "-m", "pytest", "-q", "-n", "0"]
  command += ["-m", "", "tests/test_docs.py"]
  return bool(subprocess.run(command, cwd=root, check=False).returncode)


def main(arguments: list[str] | None = None) -> int:
  """Builds the working tree, or a tag; returns the exit status."""
  given = parser().parse_args(arguments)
  if given.tag:
    return versions.build_tag(
      ROOT, given.tag, given.out, given.repository, programs=given.programs
    )

  site = given.out.resolve() / "main"
  if given.programs and programs_fail(ROOT):
    wrong = ["the code of a page fails: see above, with the page and the line"]
  else:
    wrong = build(ROOT, site, given.repository)
  for line in wrong:
    print(f"error: {line}", file=sys.stderr)
  if not wrong:
    print(f"built {site / 'index.html'}")
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main())
