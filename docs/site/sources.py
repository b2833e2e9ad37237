"""The pages of the repository in one tree, as Sphinx reads them.

A page has one place on the site, whatever folder it lies in; links are changed
to match. The tree is made anew at each build: nothing in it is edited by hand.
"""

import dataclasses
import json
import pathlib
import posixpath
import re
import shutil

from docs.site import public, reference
from docs.site.gallery import gallery_page, read_experiment
from docs.site.links import Places, rewritten

__all__ = ["TOP", "places_of", "write_sources"]

# Pages at the top of the repository.
TOP = {
  "CHANGELOG.md": "changes.md",
  "CONTRIBUTING.md": "contributing.md",
  "DATA.md": "data.md",
  "SECURITY.md": "security.md",
}
# Pages that tell of a whole, under the name that links give it.
SAME = {
  "README.md": "index.md",
  "docs": "how_to/index.md",
  "docs/README.md": "how_to/index.md",
  "docs/notebooks": "tutorials/index.md",
  "docs/how_to": "how_to/index.md",
  "experiments": "experiments/index.md",
  "launch": "launch/index.md",
}
# Pages of docs/ itself that are about ideas; the others say how to do things.
IDEAS = ("the_notes",)
# The parts of the site, in the order of the list at the side.
ROOMS = ("tutorials", "how_to", "ideas", "reference", "experiments", "launch")


def places_of(root: pathlib.Path, repository: str = "") -> Places:
  """Where each page of the repository is on the site.

  Args:
    root: of the repository.
    repository: address at which its files are shown; "" is none.

  Raises:
    ValueError: two pages would have one place.
  """
  pages: dict[str, str] = {}
  for path in sorted((root / "docs").rglob("*.md")):
    at = path.relative_to(root / "docs")
    if len(at.parts) > 1:
      pages[f"docs/{at.as_posix()}"] = at.as_posix()
    elif at.stem == "index":
      pages["docs/index.md"] = "index.md"
    elif at.stem != "README":
      room = "ideas" if at.stem in IDEAS else "how_to"
      pages[f"docs/{at}"] = f"{room}/{at}"
  for path in sorted((root / "docs" / "notebooks").glob("*.ipynb")):
    pages[f"docs/notebooks/{path.name}"] = f"tutorials/{path.name}"

  for readme in sorted((root / "experiments").glob("*/README.md")):
    name = readme.parent.name
    pages[f"experiments/{name}/README.md"] = f"experiments/{name}.md"
  for path in sorted((root / "launch").rglob("*.md")):
    page = path.relative_to(root).as_posix()
    place = page.removesuffix("/README.md").removesuffix(".md")
    place = "launch/index" if place == "launch" else place
    pages[page] = f"{place}.md"

  pages |= {
    path: place for path, place in TOP.items() if (root / path).is_file()
  }
  pages["attnjax/ops/attention/README.md"] = "ideas/files_of_attention.md"
  if len({*pages.values()}) < len(pages):
    raise ValueError(f"two pages have one place on the site: {pages}")

  for module in public.modules():
    place = module.replace(".", "/")
    page = f"reference/{module}.rst"
    pages |= {f"{place}.py": page, f"{place}/__init__.py": page, place: page}
  carried = {
    path.relative_to(root).as_posix(): f"pages/{path.name}"
    for path in sorted((root / "docs" / "pages").glob("*.html"))
  }
  return Places(root, pages | SAME, carried, repository)


def write_sources(places: Places, out: pathlib.Path) -> None:
  """Writes the tree.

  Args:
    places: of every page.
    out: a folder, which is made anew.

  Raises:
    DeadLinkError: a page links to what is not there.
    ValueError: a public name says nothing of itself.
  """
  shutil.rmtree(out, ignore_errors=True)
  out.mkdir(parents=True)
  own = {p: to for p, to in places.pages.items() if p not in SAME}

  for page, to in own.items():
    if page.endswith(".md"):
      text = (places.root / page).read_text(encoding="utf-8")
      if not text.startswith("# "):  # written by a program, such as a plan
        text = f"# {pathlib.PurePosixPath(page).parent.name}\n\n{text}"
      _write(out / to, rewritten(text, page, places))
    elif page.endswith(".ipynb"):
      _write(out / to, _notebook(places, page))

  _indexes(places, own, out)
  index = reference.Index()
  _write(out / "reference" / "index.rst", reference.index_page(index))
  for module in index.names:
    text = reference.module_page(module, index)
    _write(out / "reference" / f"{module}.rst", text)

  for path in sorted(places.images):
    _copy(places.root / path, out / "images" / path)


def _indexes(places: Places, own: dict[str, str], out: pathlib.Path) -> None:
  """The pages that list the others."""
  for title in ("Tutorials", "How to", "Ideas"):
    room = title.lower().replace(" ", "_")
    _write(out / room / "index.md", _room_page(title, room, places))

  readmes = sorted((places.root / "experiments").glob("*/README.md"))
  page = gallery_page([read_experiment(readme) for readme in readmes])
  at = _standing(places, "experiments/README.md", "experiments/index.md")
  page = rewritten(page, "experiments/README.md", at)
  _write(out / "experiments" / "index.md", page)

  with (out / "launch" / "index.md").open("a", encoding="utf-8") as file:
    rest = [to for to in own.values() if to.startswith("launch/")]
    below = sorted(x[7:-3] for x in rest if x != "launch/index.md")
    file.write("\n" + _toctree([x for x in below if "/" not in x]))
  with (out / "launch" / "plans.md").open("a", encoding="utf-8") as file:
    file.write("\n" + _toctree([x for x in below if x.startswith("plans/")]))

  with (out / "index.md").open("a", encoding="utf-8") as file:
    entries = ["Start <self>"]
    for room in ROOMS:
      entries.append(f"{room.replace('_', ' ').capitalize()} <{room}/index>")
    for page, to in TOP.items():
      if page in own:
        name = to.removesuffix(".md")
        entries.append(f"{name.capitalize()} <{name}>")
    file.write("\n" + _toctree(entries))


def _room_page(title: str, room: str, places: Places) -> str:
  """The page of a room: its section of docs/README.md, with titles of pages.

  Raises:
    ValueError: there is no such section, or it leaves a page of the room out.
  """
  text = (places.root / "docs/README.md").read_text(encoding="utf-8")
  found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
  if found is None:
    raise ValueError(f"docs/README.md must have a section '## {title}'")

  listed: list[str] = []

  def titled(link: re.Match) -> str:
    path = posixpath.normpath(f"docs/{link[2]}")
    if not places.pages.get(path, "").startswith(f"{room}/"):
      return link[0]
    listed.append(path)
    return f"[{_title(places.root / path)}]({link[2]})"

  body = re.sub(r"\[([^\]]+)\]\(([^)#]+)\)", titled, found[1])
  inside = {p for p, to in places.pages.items() if to.startswith(f"{room}/")}
  if lost := inside - {*listed, *SAME}:
    raise ValueError(
      f"docs/README.md must link in '## {title}' to {sorted(lost)}"
    )

  at = _standing(places, "docs/README.md", f"{room}/index.md")
  names = [places.pages[path].split("/", 1)[1] for path in listed]
  names = [name.rsplit(".", 1)[0] for name in dict.fromkeys(names)]
  body = rewritten(body, "docs/README.md", at)
  return f"# {title}\n{body}\n{_toctree(names)}"


def _standing(places: Places, page: str, to: str) -> Places:
  """Places, for a text whose links are those of a page that is elsewhere."""
  return dataclasses.replace(places, pages={**places.pages, page: to})


def _toctree(pages: list[str]) -> str:
  """What puts pages into the list at the side."""
  return "\n".join(["```{toctree}", ":hidden:", "", *pages, "```", ""])


def _title(path: pathlib.Path) -> str:
  """The first heading of a page or of a notebook."""
  text = path.read_text(encoding="utf-8")
  if path.suffix == ".ipynb":
    text = "".join(json.loads(text)["cells"][0]["source"])
  found = re.search(r"^# (.+)$", text, re.M)
  if found is None:
    raise ValueError(f"{path} must begin with a heading, '# title'")
  return found[1]


def _notebook(places: Places, page: str) -> str:
  """A notebook with its links changed, and outputs as they are."""
  notebook = json.loads((places.root / page).read_text(encoding="utf-8"))
  for cell in notebook["cells"]:
    if cell["cell_type"] == "markdown":
      cell["source"] = rewritten("".join(cell["source"]), page, places)
  return json.dumps(notebook)


def _write(path: pathlib.Path, text: str) -> None:
  """Writes a file, and its folder."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text, encoding="utf-8")


def _copy(source: pathlib.Path, to: pathlib.Path) -> None:
  """Copies a file, and makes its folder."""
  to.parent.mkdir(parents=True, exist_ok=True)
  shutil.copyfile(source, to)
