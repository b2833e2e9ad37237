"""A docstring of ours as reStructuredText.

Docstrings are plain text: paragraphs, equations that are indented, sections
such as ``Args:``, examples, ``code`` and `names`. None of it is markup, so that
here every character that Sphinx would take for some is kept from it.
"""

import inspect
import re
from collections.abc import Callable, Iterator

__all__ = ["Resolve", "inline", "rest", "summary"]

# From a name in backticks to the full path of what it names, or None.
Resolve = Callable[[str], str | None]

SECTIONS = ("Args", "Returns", "Yields", "Raises", "Reference")
_HEADER = re.compile(rf"({'|'.join(SECTIONS)}):$")
_ITEM = re.compile(r"(\*{0,2}[\w.]+(?:, \*{0,2}\w+)*): (.*)", re.S)
_TABLE = re.compile(r"=+( +=+)+$")
_MARKED = re.compile(r"(``.+?``|`[^`]+ <[^>]+>`_|`[^`]+`)", re.S)
# A line that begins so would begin a list, a comment or a table.
_BEGINS = re.compile(r"(\(?\w{1,3}[.)]|[-+*•|:]|\.\.|=+|>>>)(?=\s|$)")


def summary(text: str) -> str:
  """The first paragraph of a docstring, in one line."""
  return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())


def rest(text: str, resolve: Resolve) -> list[str]:
  r"""Lines of reStructuredText.

  Args:
    text: a docstring.
    resolve: finds what a name in single backticks is; what it does not find is
      set as code.

  >>> text = "Sum: a*b.\n\n    c = a * b\n\nIt is `c`."
  >>> print("\n".join(rest(text, lambda name: None)))
  Sum: a\*b.
  <BLANKLINE>
  .. code-block:: none
     :class: equation
  <BLANKLINE>
     c = a * b
  <BLANKLINE>
  It is ``c``.
  <BLANKLINE>
  """
  lines: list[str] = []
  section, body = None, []  # type: ignore[var-annotated]

  for line in [*inspect.cleandoc(text).splitlines(), None]:
    header = _HEADER.match(line) if line is not None else None
    ends = line is None or (line and not line[0].isspace())
    if section and ends:
      lines += _section(section, inspect.cleandoc("\n".join(body)), resolve)
      section, body = None, []
    if header:
      # What came before is complete: a section stands by itself.
      lines += _body("\n".join(body), resolve)
      section, body = header[1], [""]
    elif line is not None:
      body.append(line)

  return lines + _body("\n".join(body), resolve)


def _section(name: str, text: str, resolve: Resolve) -> list[str]:
  """A section, as fields, which Sphinx lays out for itself."""
  if name == "Reference":
    return [".. rubric:: Reference", "", *_body(text, resolve)]

  if name in ("Returns", "Yields"):
    return [f":{name.lower()}:", *_indented(_body(text, resolve)), ""]

  field = {"Args": "param", "Raises": "raises"}[name]
  lines: list[str] = []
  for item in re.split(r"\n(?=\S)", text):
    found = _ITEM.fullmatch(item)
    if found is None:  # a sentence about all of them
      lines += [f":{name}:", *_indented(_body(item, resolve)), ""]
      continue
    what = found[1].replace("*", r"\*")
    told = found[2].split("\n", 1)
    rest_of_it = inspect.cleandoc("\n" + told[1]) if len(told) > 1 else ""
    told = _body(f"{told[0]}\n{rest_of_it}", resolve)
    lines += [f":{field} {what}:", *_indented(told), ""]
  return lines


def _body(text: str, resolve: Resolve) -> list[str]:
  """Paragraphs, lists, equations and examples."""
  lines: list[str] = []
  for block in _blocks(text):
    first = block[0]
    if first.startswith(">>> "):
      lines += [*block, ""]
    elif first.startswith("  "):
      code = inspect.cleandoc("\n".join(["", *block])).splitlines()
      lines += [".. code-block:: none", "   :class: equation", ""]
      lines += [*_indented(code), ""]
    elif _TABLE.match(first):  # a table, which is markup already
      lines += [*block, ""]
    elif re.match(r"- |\d\. ", first):
      for item in re.split(r"\n(?=- |\d\. )", "\n".join(block)):
        mark, told = item.split(" ", 1)
        lines.append(f"{mark} {inline(told, resolve)}")
      lines.append("")
    else:
      lines += [inline(" ".join(block), resolve), ""]
  return lines


def _blocks(text: str) -> Iterator[list[str]]:
  """Parts of a text: each is of one kind."""
  block: list[str] = []
  for line in [*text.splitlines(), ""]:
    code = line.startswith("  ")
    # An example goes on to the next empty line; a list to what is not indented.
    shown = bool(block) and block[0].startswith(">>> ")
    listed = bool(block) and bool(re.match(r"- |\d\. ", block[0]))
    was_code = bool(block) and block[0].startswith("  ")
    begins = line.startswith(">>> ") and not shown
    if not line.strip() and was_code:
      block.append("")  # an equation may have empty lines
      continue
    table = bool(block) and bool(_TABLE.match(block[0]))
    turns = not (shown or listed or table) and code != was_code
    if block and (not line.strip() or begins or turns):
      while block and not block[-1]:
        block.pop()
      if block:
        yield block
      block = []
    if line.strip():
      block.append(line)
  while block and not block[-1]:
    block.pop()
  if block:
    yield block


def inline(text: str, resolve: Resolve) -> str:
  r"""A paragraph in one line, with its code and its names.

  >>> inline("a*b of `attend` and ``*B T``", lambda name: f"attnjax.{name}")
  'a\\*b of :py:obj:`attend <attnjax.attend>` and ``*B T``'
  """
  parts = _MARKED.split(" ".join(text.split()))
  for at, part in enumerate(parts):
    if part.startswith("``") or part.endswith("`_"):
      # Where a letter follows at once, Sphinx has to be told that code ends.
      pass
    elif part.startswith("`"):
      name = part[1:-1]
      path = resolve(name)
      parts[at] = f":py:obj:`{name} <{path}>`" if path else f"``{name}``"
    else:
      parts[at] = re.sub(r"([\\*|]|(?<=\w)_(?!\w)|`)", r"\\\1", part)

  marked = range(1, len(parts), 2)
  for at in marked:
    if parts[at - 1] and parts[at - 1][-1] not in " (\"'[-/":
      parts[at] = "\\ " + parts[at]
    if parts[at + 1] and parts[at + 1][0] not in " .,;:!?)\"'-/]":
      parts[at] += "\\ "
  line = "".join(parts)
  return "\\" + line if _BEGINS.match(line) else line


def _indented(lines: list[str]) -> list[str]:
  """Three spaces in front of what is not empty."""
  return [f"   {line}" if line else "" for line in lines]
