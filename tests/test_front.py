"""The front of each room tells what is in it: `help(attnjax.masks)`."""

import importlib
import inspect
import pydoc

import pytest

FRONTS = (
  "cache",
  "glimpses",
  "masks",
  "memory",
  "normalizers",
  "patterns",
  "positions",
  "score_mods",
  "scoring",
  "slots",
)


@pytest.mark.parametrize("name", FRONTS)
def test_its_docstring_lists_every_name_with_its_first_line(name):
  front = importlib.import_module(f"attnjax.{name}")
  told = " ".join(front.__doc__.split())
  assert not told.startswith("`attnjax.")
  for public in front.__all__:
    first = inspect.getdoc(getattr(front, public)).split("\n")[0]
    line = " ".join(f"{public}: {first}".split())
    assert line in told, f"attnjax/{name}.py: its docstring lacks {line!r}"


@pytest.mark.parametrize("name", FRONTS)
def test_help_shows_the_docs_of_each_function(name):
  front = importlib.import_module(f"attnjax.{name}")
  shown = pydoc.plain(pydoc.render_doc(front))
  for public in front.__all__:
    thing = getattr(front, public)
    last = inspect.getdoc(thing).split("\n")[-1].strip()
    assert last in shown, public
