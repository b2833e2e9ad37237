"""Builds the template of the page: `python -m attnjax.viz.page_build`.

Pages that are named after it, as those of `docs/pages`, are brought up to it.

The modules of `page_source/` become one script, and with the styles one HTML
file, `page_template.html`, which the wheel carries. No tool is needed for it.
"""

import re
import sys
from pathlib import Path

__all__ = ["build", "renewed"]

_SOURCE = Path(__file__).with_name("page_source")
# Each after those that it imports.
_MODULES = (
  *("data", "fragment", "colour", "derived", "grid", "views", "bars", "main"),
)


def build() -> str:
  """The template: everything of a page but its data.

  >>> build().count("/*DATA*/")
  1
  """
  page = (_SOURCE / "page.html").read_text(encoding="utf-8")
  style = (_SOURCE / "style.css").read_text(encoding="utf-8")
  script = "\n".join(map(_plain, _MODULES))
  page = page.replace("/*STYLE*/", style.strip())
  return page.replace("/*SCRIPT*/", f'"use strict";\n(() => {{\n{script}}})();')


def renewed(page: str, template: str) -> str:
  """A page of an older template in a newer one, with its data.

  Args:
    page: the whole file.
    template: see `build`.

  >>> old = '<script type="application/json" id="data">{}</script>'
  >>> '{}' in renewed(old, build())
  True
  """
  found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
  if found is None:
    raise ValueError("page must be one of attnjax.viz.page, which has data")
  return template.replace("/*DATA*/", found[1])


def _plain(name: str) -> str:
  """A module as plain script: it shares one scope with the others."""
  text = (_SOURCE / f"{name}.js").read_text(encoding="utf-8")
  text = re.sub(r"^import .*\n", "", text, flags=re.MULTILINE)
  return re.sub(r"^export ", "", text, flags=re.MULTILINE)


if __name__ == "__main__":
  made = Path(__file__).with_name("page_template.html")
  made.write_text(build(), encoding="utf-8")
  for older in map(Path, sys.argv[1:]):
    text = renewed(older.read_text(encoding="utf-8"), build())
    older.write_text(text, encoding="utf-8")
  print(f"{made.name}: {made.stat().st_size:,} bytes")
