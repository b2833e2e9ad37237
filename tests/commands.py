"""The commands that READMEs and pages show, found in them."""

import dataclasses
import re
import shlex
from pathlib import Path

__all__ = ["ROOT", "Command", "commands"]

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(?:bash|sh|shell)\n(.*?)^```", re.M | re.S)
_FENCED = re.compile(r"^```.*?^```", re.M | re.S)
# A whole command within a text, not the mere name of a program; `<name>`, `*`
# and braces stand for something.
_INLINE = re.compile(r"`((?:\.venv/bin/)?python3? -m [\w.]+ [^`<*{]+)`")
_VARIABLE = re.compile(r"[A-Z_]+=.*")


@dataclasses.dataclass(frozen=True)
class Command:
  """One command of a page.

  Args:
    page: its path from the root.
    words: as a shell splits them: no comment, no redirection.
    variables: of the environment, written before the command.
  """

  page: str
  words: tuple[str, ...]
  variables: dict[str, str]

  @property
  def module(self):
    """What `python -m` runs; None of another program."""
    python = re.fullmatch(r"(.venv/bin/)?python3?", self.words[0])
    return self.words[2] if python and self.words[1] == "-m" else None

  @property
  def arguments(self):
    """What follows the module."""
    return list(self.words[3:])

  def __str__(self):
    """For the name of a test."""
    return f"{self.page}: {' '.join(self.words)}"[:110]


def pages():
  """Every page of the project, by its path from the root."""
  rooms = ("docs", "experiments", "launch", "attnjax")
  inside = (path for room in rooms for path in (ROOT / room).rglob("*.md"))
  # The changelog tells of what ran once.
  top = (path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md")
  for path in sorted([*top, *inside]):
    yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def commands():
  """Every command of every block of shell, in the order of the pages."""
  for page, text in pages():
    for block in _BLOCK.findall(text):
      for line in block.replace("\\\n", " ").splitlines():
        yield from split(page, line)
    for line in _INLINE.findall(_FENCED.sub("", text)):
      yield from split(page, line.replace("\n", " "))


def split(page, line):
  """The commands of a line: `a && b` is two."""
  # A mark by itself, so that one in quotes is not taken for it.
  lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;>")
  lexer.whitespace_split = True
  words: list[str] = []
  rest = iter([*lexer, "&&"])
  for word in rest:
    if word == ">":
      next(rest)  # the file it is written to
    elif word in ("&&", ";", "|"):
      if words:
        names = []
        while words and _VARIABLE.fullmatch(words[0]):
          names.append(words.pop(0).partition("=")[::2])
        yield Command(page, tuple(words), dict(names))
      words = []
    else:
      words.append(word)
