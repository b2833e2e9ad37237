"""One build of the site, from the tree of its sources to pages that hold."""

import io
import pathlib
import re
import shutil

from docs.site import versions
from docs.site.checks import dead_links, remote_parts
from docs.site.links import DeadLinkError
from docs.site.sources import places_of, write_sources

__all__ = ["build", "run_sphinx"]

HERE = pathlib.Path(__file__).parent


def build(
  root: pathlib.Path, site: pathlib.Path, repository: str = ""
) -> list[str]:
  """Builds the pages of a repository.

  Args:
    root: of the repository.
    site: a folder, which is made anew.
    repository: address at which its files are shown; "" is none.

  Returns:
    What is wrong, a line each; nothing where the site is whole.

  Raises:
    ImportError: Sphinx is not here.
  """
  sources = site.parent / f".sources-{site.name}"
  shutil.rmtree(site, ignore_errors=True)
  carried = sources / "_carried"
  try:
    places = places_of(root, repository)
    write_sources(places, sources / "pages")
  except (DeadLinkError, ValueError) as error:
    return [str(error)]
  shutil.copytree(
    root / "docs" / "pages", carried / "pages", dirs_exist_ok=True
  )

  wrong = run_sphinx(sources / "pages", site, sources / "read", carried)
  wrong = [line.replace(f"{sources}/", "") for line in wrong]
  if wrong:
    return wrong

  shutil.rmtree(sources)
  (site / ".nojekyll").touch()  # a host may else leave out folders with _
  versions.write_list(site.parent)  # which every page links to
  wrong = [f"dead link: {line}" for line in dead_links(site)]
  return wrong + [f"loaded from elsewhere: {x}" for x in remote_parts(site)]


def run_sphinx(
  pages: pathlib.Path,
  site: pathlib.Path,
  read: pathlib.Path,
  carried: pathlib.Path,
) -> list[str]:
  """Runs Sphinx; returns its warnings, each once.

  Args:
    pages: the tree of sources.
    site: where pages of HTML go.
    read: where Sphinx keeps what it read.
    carried: a folder whose files are copied to the top of the site.

  Raises:
    ImportError: Sphinx is not here.
  """
  try:
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils
  except ImportError as error:
    raise ImportError(
      "the site needs Sphinx: pip install -e '.[docs]' -c constraints.txt"
    ) from error

  warned = io.StringIO()
  with patch_docutils(HERE), docutils_namespace():
    app = Sphinx(
      pages,
      HERE,
      site,
      read,
      "html",
      confoverrides={"html_extra_path": [str(carried)]},
      status=None,
      warning=warned,
      freshenv=True,
    )
    app.build()
  # Some are said again for every page that has the list at the side.
  lines = re.sub(r"\x1b\[[\d;]*m", "", warned.getvalue()).splitlines()
  return [line for line in dict.fromkeys(lines) if line.strip()]
