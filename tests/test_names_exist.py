"""Every global name that a function reads exists in its module.

The linter's own rule (F821) is off, for it takes the axes of an annotation,
``Float[Array, "B T"]``, for names. So compiled code is asked instead; nothing
is imported.
"""

import builtins
import dis
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Every module has these, though none binds them.
GIVEN = {"__name__", "__file__", "__doc__", "__package__", "__spec__"}


def code_objects(code):
  """A code object, and all that are inside of it."""
  yield code
  for inner in code.co_consts:
    if hasattr(inner, "co_code"):
      yield from code_objects(inner)


def missing(text, name):
  """(line, name) of each global that is read and that nothing binds."""
  module = compile(text, name, "exec")
  bound, read = set(dir(builtins)) | GIVEN, []

  for code in code_objects(module):
    for instruction in dis.get_instructions(code):
      # Names of the module itself are stored by name, others where a function
      # declares them global.
      at_module = code is module and instruction.opname == "STORE_NAME"
      if at_module or instruction.opname == "STORE_GLOBAL":
        bound.add(instruction.argval)
      elif instruction.opname == "LOAD_GLOBAL":
        read.append((instruction.positions.lineno, instruction.argval))

  return [(line, name) for line, name in read if name not in bound]


@pytest.mark.parametrize(
  "room", ["attnjax", "docs", "experiments", "launch", "tests"]
)
def test_every_global_name_is_there(room):
  found = []
  for path in sorted((ROOT / room).rglob("*.py")):
    text = path.read_text()
    if "import *" not in text:  # of a front file, which has no functions
      at = missing(text, str(path))
      found += [f"{path.relative_to(ROOT)}:{line} {name}" for line, name in at]
  assert not found


def test_a_name_that_is_nowhere_is_found():
  text = "import os\ndef f():\n  return nowhere + len(os.sep)\n"
  assert missing(text, "text") == [(3, "nowhere")]
