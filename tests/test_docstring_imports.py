"""An example in a docstring imports what it uses of other modules.

A reader pastes it into a shell: what the module itself defines he has by the
import that brought him there, `jnp` he does not have.
"""

import ast
import builtins
import doctest
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARSER = doctest.DocTestParser()
DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef)


def missing(path):
  """(line, name) of each import that an example of a file leaves out."""
  tree = ast.parse(path.read_text(encoding="utf-8"))
  # Names that come of imports, and from where; others the module defines.
  imported = {
    alias.asname or alias.name.split(".")[0]
    for node in ast.walk(tree)
    if isinstance(node, ast.Import | ast.ImportFrom)
    for alias in node.names
  }
  for node in ast.walk(tree):
    if not isinstance(node, DEFINITIONS):
      continue
    text = ast.get_docstring(node)
    if text and ">>>" in text:
      line = getattr(node, "lineno", 1)
      for name in sorted(free(text) & imported - set(dir(builtins))):
        yield line, name


def free(text):
  """Names that the examples of a docstring read before they bind them."""
  bound, read = set(), set()
  for example in PARSER.get_examples(text):
    tree = ast.parse(example.source)
    for node in ast.walk(tree):
      if isinstance(node, ast.Import | ast.ImportFrom):
        bound |= {x.asname or x.name.split(".")[0] for x in node.names}
      elif isinstance(node, ast.FunctionDef | ast.ClassDef):
        bound.add(node.name)
      elif isinstance(node, ast.arg):
        bound.add(node.arg)
      elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        bound.add(node.id)
    names = {
      node.id
      for node in ast.walk(tree)
      if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    read |= names - bound
  return read


def test_examples_import_what_they_use():
  found = [
    f"{path.relative_to(ROOT)}:{line}: {name}"
    for room in ("attnjax", "experiments", "launch")
    for path in sorted((ROOT / room).rglob("*.py"))
    for line, name in missing(path)
  ]
  assert not found, "\n".join(found)
