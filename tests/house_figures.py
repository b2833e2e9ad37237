"""Figures of the house as text: `python tests/house_figures.py`.

Files and their lengths, comments, air in functions, private functions that are
used once, and the walk from `attend` to the line where `exp` is taken.
"""

import ast
import collections
import io
import itertools
import pathlib
import re
import statistics
import sys
import tokenize
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
ROOMS = ("attnjax", "experiments", "launch")


class Walk(NamedTuple):
  """What a call passes through before a number is computed."""

  frames: list[str]  # file:function of each level, attend first
  files: int  # that any call entered before
  changes: int  # of file, from one entered function to the next

  @property
  def own_files(self) -> list[str]:
    """The files of the levels, each once."""
    return list(dict.fromkeys(x.split(":")[0] for x in self.frames))


def sources() -> list[pathlib.Path]:
  """Every Python file but the tests."""
  return [p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))]


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
  """Every function of a file, methods and inner ones too."""
  return [x for x in ast.walk(tree) if isinstance(x, ast.FunctionDef)]


def body_lines(function: ast.FunctionDef) -> tuple[int, int]:
  """First and last line of a function after its docstring."""
  said = ast.get_docstring(function) is not None
  body = function.body[1:] if said else function.body
  return (body[0].lineno, body[-1].end_lineno) if body else (0, -1)


def comments(text: str) -> int:
  """Comments of a file."""
  tokens = tokenize.generate_tokens(io.StringIO(text).readline)
  return sum(token.type == tokenize.COMMENT for token in tokens)


def without_air(text: str, least: int = 15) -> tuple[int, int]:
  """(functions without a blank line, functions) of at least so many lines."""
  rows, airless, long = text.split("\n"), 0, 0

  for function in functions(ast.parse(text)):
    first, last = body_lines(function)
    if last - first + 1 >= least:
      long += 1
      airless += all(row.strip() for row in rows[first - 1 : last])

  return airless, long


def used_once(texts: list[str]) -> tuple[int, int]:
  """(private functions named once beside their definition, private ones)."""
  private = [
    function.name
    for text in texts
    for function in functions(ast.parse(text))
    if re.match(r"_[a-z]", function.name)
  ]
  words = collections.Counter(
    word for text in texts for word in re.findall(r"\b_[a-z]\w*", text)
  )
  once = sum(words[name] == 2 for name in private)
  return once, len(private)


def walk() -> Walk:
  """From a causal `attend` to the first `exp` over a tile of logits."""
  import jax
  import jax.numpy as jnp

  import attnjax
  from attnjax import masks

  entered: list[str] = []
  found: list[str] = []

  def place(code) -> str | None:
    path = pathlib.Path(code.co_filename)
    here = path.is_relative_to(ROOT / "attnjax")
    # A lambda or a comprehension is no place that a reader goes to.
    if not here or code.co_name.startswith("<"):
      return None
    name = path.relative_to(ROOT / "attnjax").as_posix()
    return f"{name}:{code.co_name}"

  def watch(frame, event, _):
    if found or event != "call":
      return
    at = place(frame.f_code)
    if at is not None:
      entered.append(at)
    elif frame.f_code.co_name == "exp" and "jax" in frame.f_code.co_filename:
      above = frame.f_back
      while above is not None:
        at = place(above.f_code)
        if at is not None:
          found.append(at)
        above = above.f_back
      found.reverse()

  q = jnp.ones((1, 4, 1, 2))
  jax.clear_caches()
  sys.setprofile(watch)
  try:
    attnjax.attend(q, q, q, mask=masks.causal())
  finally:
    sys.setprofile(None)

  files = [at.split(":")[0] for at in entered]
  changes = sum(a != b for a, b in itertools.pairwise(files))
  return Walk(found, len(set(files)), changes)


def main() -> None:
  """Prints the figures."""
  sys.path.insert(0, str(ROOT))
  texts = [path.read_text() for path in sources()]
  lengths = [text.count("\n") for text in texts]
  airless, long = map(sum, zip(*map(without_air, texts), strict=True))
  once, private = used_once(texts)

  print(f"files: {len(texts)}, median {statistics.median(lengths):.0f} lines")
  for n, path in sorted(zip(lengths, sources(), strict=True))[-3:]:
    print(f"  {n} {path.relative_to(ROOT)}")
  print(f"lines: {sum(lengths)}")
  print(f"comments: {100 * sum(map(comments, texts)) / sum(lengths):.1f} %")
  print(f"functions of 15 lines and more: {long}, without air: {airless}")
  print(f"private functions: {private}, used once: {once}")
  print(f": Any {sum(len(re.findall(r': Any', text)) for text in texts)}")

  passed = walk()
  print(
    f"attend to exp: {passed.files} files entered, {passed.changes} changes of"
    f" file; the way there: {len(passed.frames)} levels in"
    f" {len(passed.own_files)} files"
  )
  print(*(f"  {at}" for at in passed.frames), sep="\n")


if __name__ == "__main__":
  main()
