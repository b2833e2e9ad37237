"""Checks of the pages that were made: each link leads somewhere.

Sphinx checks what it links itself. Pages of HTML that are carried as they are,
anchors, pictures and what pages load are checked here, in the files as a
browser gets them.
"""

import html.parser
import pathlib
import urllib.parse
from collections.abc import Iterator

__all__ = ["dead_links", "remote_parts"]

_LOADED = {
  "script": "src",
  "img": "src",
  "link": "href",
  "iframe": "src",
  "source": "src",
}


class _Page(html.parser.HTMLParser):
  """Ids, links and loaded files of a page."""

  def __init__(self):
    super().__init__()
    self.ids: set[str] = set()
    self.links: list[str] = []
    self.loaded: list[str] = []

  def handle_starttag(self, tag, attrs):
    """Notes what an element is called, links to and loads."""
    found = {key: value for key, value in attrs if value is not None}
    self.ids |= {found[x] for x in ("id", "name") if x in found}
    if tag == "a" and "href" in found:
      self.links.append(found["href"])
    # Of links only those that a browser fetches.
    fetched = tag != "link" or found.get("rel") in ("stylesheet", "icon")
    if tag in _LOADED and _LOADED[tag] in found and fetched:
      self.loaded.append(found[_LOADED[tag]])


def _pages(site: pathlib.Path) -> Iterator[tuple[pathlib.Path, _Page]]:
  """Every page of a site, read."""
  for path in sorted(site.rglob("*.html")):
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    yield path, page


def dead_links(site: pathlib.Path) -> list[str]:
  """Links and pictures that lead nowhere within the site, with their page.

  Args:
    site: the folder of the pages.
  """
  read = dict(_pages(site))
  found = []
  for path, page in read.items():
    for link in [*page.links, *page.loaded]:
      parts = urllib.parse.urlsplit(link)
      if parts.scheme or parts.netloc:
        continue
      target = path
      if parts.path:
        target = (path.parent / urllib.parse.unquote(parts.path)).resolve()
      anchor = urllib.parse.unquote(parts.fragment)
      lost = not target.exists()
      if not lost and anchor and target in read:
        lost = anchor not in read[target].ids
      if lost:
        found.append(f"{path.relative_to(site)}: {link}")
  return found


def remote_parts(site: pathlib.Path) -> list[str]:
  """What pages would load from another host, with their page."""
  return [
    f"{path.relative_to(site)}: {link}"
    for path, page in _pages(site)
    for link in page.loaded
    if urllib.parse.urlsplit(link).netloc
  ]
