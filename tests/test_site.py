"""The site: every public name has a place, and no link is dead.

What needs Sphinx builds all of it, and is slow.
"""

import importlib.util
import re
import subprocess
import sys
import tomllib

import pytest
from commands import ROOT

import attnjax
from docs.site import (
  checks,
  docstrings,
  links,
  public,
  reference,
  sources,
  versions,
)
from docs.site.gallery import read_experiment

needs_sphinx = pytest.mark.skipif(
  importlib.util.find_spec("sphinx") is None
  or importlib.util.find_spec("myst_nb") is None,
  reason="pip install 'attnjax[docs]'",
)


@pytest.fixture(scope="module")
def index():
  return reference.Index()


def test_every_public_name_has_its_place(index):
  assert set(index.names) == set(public.modules())
  for module, names in index.names.items():
    page = reference.module_page(module, index).splitlines()
    for name in names:
      begin = f".. py:{name.kind}:: {name.name}"
      assert any(
        line == begin or line.startswith(f"{begin}(") for line in page
      ), name.path


def test_no_docstring_is_written_for_sphinx(index):
  """Else `help()` shows markup, and the reference shows it too."""
  found = [
    name.path
    for names in index.names.values()
    for name in names
    if re.search(r":math:|^ *\.\. \w+::", public.described(name), re.M)
  ]
  assert found == []


def test_every_room_is_shown_or_is_said_to_be_for_nobody():
  rooms = {f"attnjax.{path.stem}" for path in (ROOT / "attnjax").iterdir()}
  rooms = {room for room in rooms if "__" not in room and room != "attnjax.py"}
  assert rooms <= {*public.modules()} | {*public.NOT_FOR_USERS}


def test_a_name_that_says_nothing_of_itself_is_refused(monkeypatch):
  from attnjax import masks

  monkeypatch.setattr(masks.causal, "__doc__", None)
  with pytest.raises(ValueError, match=r"attnjax\.masks\.causal must say"):
    public.names("attnjax.masks")


def test_a_signature_has_the_shapes_of_the_source(index):
  page = reference.module_page("attnjax", index)
  assert "query: Float[Array, '*B T H D']" in page
  assert "normalizer: Normalizer=..." in page  # of the unpacked options
  assert "Unpack" not in page


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("k <= q and *args, a_ | b", "k <= q and \\*args, a\\_ \\| b"),
    ("``*B T``s of `f`", "``*B T``\\ s of :py:obj:`f <m.f>`"),
    ("see `nowhere`", "see ``nowhere``"),
    ("- 1 is no list here", "\\- 1 is no list here"),
  ],
)
def test_text_is_not_taken_for_markup(text, expected):
  assert docstrings.inline(text, {"f": "m.f"}.get) == expected


def test_sections_equations_and_examples_are_kept_apart():
  lines = docstrings.rest(
    """Sum.

        c = a
          + b

    Args:
      a: one, or
        two.
      *b: more.

    Raises:
      ValueError: never.

    >>> f(1)
    1
    """,
    lambda name: None,
  )
  text = "\n".join(lines)
  assert "   c = a\n     + b" in text
  assert ":param a:\n   one, or two." in text
  assert ":param \\*b:" in text
  assert ":raises ValueError:\n   never." in text
  assert "\n>>> f(1)\n1\n" in text


def test_every_link_of_every_page_is_found():
  places = sources.places_of(ROOT)
  for page in places.pages:
    if page.endswith(".md") and (ROOT / page).is_file():
      text = (ROOT / page).read_text(encoding="utf-8")
      if page not in sources.SAME:
        links.rewritten(text, page, places)
  assert places.images


def test_links_are_those_of_the_site(tmp_path):
  for name in ("docs/a.md", "lib/core.py", "docs/picture.png", "docs/x.html"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
  pages = {"docs/a.md": "how_to/a.md", "README.md": "index.md"}
  carried = {"docs/x.html": "pages/x.html"}
  here = links.Places(tmp_path, pages, carried)
  there = links.Places(tmp_path, pages, carried, "https://host/tree/v1/")

  def on(places, text):
    return links.rewritten(text, "docs/a.md", places)

  assert on(here, "![p](picture.png)") == "![p](../images/docs/picture.png)"
  assert on(here, "[x](x.html)") == '<a href="../pages/x.html">x</a>'
  assert on(here, "[core](../lib/core.py)") == "core (`lib/core.py`)"
  assert (
    on(there, "[core](../lib/core.py)")
    == "[core](https://host/tree/v1/lib/core.py)"
  )
  code = "```\n[a](nowhere.md)\n```\n`[a](nowhere.md)`"
  assert on(here, code) == code
  with pytest.raises(links.DeadLinkError, match=r"docs/a\.md: .* gone\.md"):
    on(here, "[a](gone.md)")


def test_the_gallery_reads_every_experiment():
  shown = [
    read_experiment(path)
    for path in sorted((ROOT / "experiments").glob("*/README.md"))
  ]
  assert len(shown) >= 19
  assert all(one.claim and one.title for one in shown)
  (glimpse,) = [one for one in shown if one.name == "glimpse"]
  assert glimpse.figure.endswith("(glimpse/effective.png)")
  assert "| softmax |" in glimpse.numbers


def test_dead_links_and_what_is_loaded_from_elsewhere_are_named(tmp_path):
  (tmp_path / "a.html").write_text(
    '<p id="here"><a href="b.html#there">b</a><a href="#here">a</a>'
    '<a href="b.html#gone">b</a><a href="c.html">c</a>'
    '<script src="https://host/x.js"></script><img src="d.png">'
    '<a href="https://host">out</a>'
  )
  (tmp_path / "b.html").write_text('<p id="there">')
  assert checks.dead_links(tmp_path) == [
    "a.html: b.html#gone",
    "a.html: c.html",
    "a.html: d.png",
  ]
  assert checks.remote_parts(tmp_path) == ["a.html: https://host/x.js"]


def test_a_tag_that_is_not_there_is_refused(tmp_path):
  if not (ROOT / ".git").exists():
    pytest.skip("tags are known in a clone")
  with pytest.raises(ValueError, match=r"--tag must be one of .* 'v99'"):
    versions.build_tag(ROOT, "v99", tmp_path)


def test_the_oldest_versions_are_those_that_are_asked_for():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  pins = (ROOT / "tests" / "lowest.txt").read_text().splitlines()
  pins = dict(line.split("==") for line in pins if "==" in line)
  for asked in project["dependencies"]:
    name, least = re.match(r"([\w-]+)>=([\d.]+)", asked).groups()
    assert pins[name] == least or pins[name].startswith(f"{least}."), asked


def test_who_cites_the_project_cites_its_version():
  cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
  assert f"\nversion: {attnjax.__version__}\n" in cited


def run(*words, cwd=ROOT):
  return subprocess.run(
    [sys.executable, "-m", "docs.site", "--no-programs", *words],
    cwd=cwd,
    capture_output=True,
    text=True,
    timeout=900,
  )


@pytest.mark.slow
def test_the_pictures_of_ideas_are_drawn_and_shown(tmp_path):
  from docs.site import pictures

  ideas = ROOT / "docs" / "ideas"
  drawn = {path.name for path in pictures.draw(tmp_path)}
  assert drawn == {path.name for path in ideas.glob("*.png")}
  pages = "".join(path.read_text("utf-8") for path in ideas.glob("*.md"))
  assert all(f"]({name})" in pages for name in drawn)


@needs_sphinx
@pytest.mark.slow
def test_the_site_is_built_and_has_every_public_name(tmp_path, index):
  done = run(f"--out={tmp_path}")
  assert done.returncode == 0, done.stderr
  site = tmp_path / "main"
  for module, names in index.names.items():
    page = (site / "reference" / f"{module}.html").read_text()
    for name in names:
      assert f'id="{name.path}"' in page, name.path
  listed = (tmp_path / "index.html").read_text()
  assert 'href="main/index.html"' in listed


@needs_sphinx
@pytest.mark.slow
@pytest.mark.parametrize(
  ("text", "named"),
  [
    ("[a](#nowhere)", "nowhere"),
    ("[a](gone.md)", "gone.md"),
    ("```{no-such-directive}\n```", "no-such-directive"),
  ],
)
def test_a_page_that_is_wrong_fails_the_build(text, named, tmp_path):
  pages = tmp_path / "pages"
  pages.mkdir()
  (pages / "index.md").write_text(f"# Title\n\n{text}\n")
  (tmp_path / "carried").mkdir()
  program = (
    "import pathlib, sys; from docs.site.build import run_sphinx;"
    "p = pathlib.Path(sys.argv[1]);"
    "print(*run_sphinx(p / 'pages', p / 'site', p / 'read', p / 'carried'))"
  )
  done = subprocess.run(
    [sys.executable, "-c", program, str(tmp_path)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert "index.md:3" in done.stdout, done.stdout + done.stderr
  assert named in done.stdout


@needs_sphinx
@pytest.mark.slow
def test_a_tag_is_built_by_its_own_files_beside_the_others(tmp_path):
  if not (ROOT / ".git").exists():
    pytest.skip("tags are known in a clone")
  clone = tmp_path / "clone"
  git = ["git", "-c", "user.name=n", "-c", "user.email=e@e"]
  for words in (
    ["clone", "-q", str(ROOT), str(clone)],
    ["-C", str(clone), "tag", "v9.8"],
  ):
    subprocess.run([*git, *words], check=True, timeout=300)
  done = run("--tag=v9.8", f"--out={tmp_path}/out", cwd=clone)
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "out" / "v9.8" / "reference" / "attnjax.html").is_file()
  assert 'href="v9.8/index.html"' in (tmp_path / "out/index.html").read_text()
