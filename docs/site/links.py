"""What a link of a page in the repository is on the site."""

import dataclasses
import pathlib
import posixpath
import re
from collections.abc import Mapping

__all__ = ["DeadLinkError", "Places", "rewritten"]

_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1[^\S\n]*$", re.M | re.S)
# Code that stands by itself comes first: what looks like a link in it is none.
_LINK = re.compile(
  r"(?P<code>(`+)(?!`).+?(?<!`)\2(?!`))"
  r"|(?P<mark>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+)\)",
  re.S,
)
_OUTSIDE = re.compile(r"[a-z][a-z+.-]*:|//", re.I)


class DeadLinkError(ValueError):
  """A page links to what is not in the repository."""


@dataclasses.dataclass(frozen=True)
class Places:
  """Where things of the repository are on the site.

  Args:
    root: of the repository.
    pages: path in the repository -> path in the tree that Sphinx reads, of each
      page; a folder stands for the page that tells of it.
    carried: the same, of pages of HTML that are taken as they are.
    repository: address where files of the repository are shown, such as
      ``https://host/owner/attnjax/blob/v0.2.0/``; "" where there is none.
    images: what was linked to as a picture, to be carried; is added to.
  """

  root: pathlib.Path
  pages: Mapping[str, str]
  carried: Mapping[str, str]
  repository: str = ""
  images: set[str] = dataclasses.field(default_factory=set)

  def link(self, page: str, mark: str, text: str, target: str) -> str:
    """One link of a page, as it is written on the site.

    Raises:
      DeadLinkError: what it names is not in the repository.
    """
    if _OUTSIDE.match(target) or target.startswith("#"):
      return f"{mark}[{text}]({target})"
    path, _, anchor = target.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    if not (self.root / path).exists() or path.startswith(".."):
      raise DeadLinkError(f"{page}: no file for the link {target}")

    here = posixpath.dirname(self.pages[page]) or "."
    if mark:
      self.images.add(path)
      return f"![{text}]({posixpath.relpath(f'images/{path}', here)})"
    anchor = f"#{anchor}" if anchor else ""
    found = self.pages.get(path) or self.pages.get(f"{path}/README.md")
    if found:
      return f"[{text}]({posixpath.relpath(found, here)}{anchor})"
    if path in self.carried:
      place = posixpath.relpath(self.carried[path], here)
      return f'<a href="{place}">{text}</a>'
    if self.repository:
      return f"[{text}]({self.repository.rstrip('/')}/{path})"
    return text if "`" in text or "/" in text else f"{text} (`{path}`)"


def rewritten(text: str, page: str, places: Places) -> str:
  """A page in Markdown with its links as they are on the site.

  Args:
    text: of the page; code in it is left alone.
    page: its path in the repository.
    places: where things are.

  Raises:
    DeadLinkError: a link names what is not in the repository.

  >>> root = pathlib.Path(__file__).parents[2]
  >>> pages = {"docs/README.md": "docs/a.md", "CHANGELOG.md": "changes.md"}
  >>> text = "[changes](../CHANGELOG.md), `[a](b)`"
  >>> rewritten(text, "docs/README.md", Places(root, pages, {}))
  '[changes](../changes.md), `[a](b)`'
  """

  def one(found: re.Match) -> str:
    if found["code"]:
      return found[0]
    return places.link(page, found["mark"], found["text"], found["target"])

  parts, end = [], 0
  for fence in _FENCE.finditer(text):
    parts += [_LINK.sub(one, text[end : fence.start()]), fence[0]]
    end = fence.end()
  return "".join([*parts, _LINK.sub(one, text[end:])])
