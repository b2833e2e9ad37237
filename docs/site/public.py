"""Public names: what the reference has to have."""

import ast
import dataclasses
import functools
import importlib
import inspect
import pkgutil
import types
from collections.abc import Iterator
from typing import Any

import attnjax

__all__ = ["INNER", "NOT_FOR_USERS", "Name", "modules", "names", "source_of"]

# Rooms of the library that a user does not call, and why each is there.
NOT_FOR_USERS = {
  "attnjax.moved": "forwards old names",
  "attnjax.ops": "what attnjax.masks, attnjax.memory and others show is here",
  "attnjax.renames": "the table of old names",
  "attnjax.retired": "old names that go with the next version",
}
# Modules below a room that pages name, for nothing above shows what they have.
INNER = (
  "attnjax.ops.heads",
  "attnjax.ops.rotary_scaling",
  "attnjax.plan.tpu_kernel_cost",
)


@dataclasses.dataclass(frozen=True)
class Name:
  """One public name.

  Args:
    module: whose `__all__` has it.
    name: in that module.
    value: what it is.
  """

  module: str
  name: str
  value: Any

  @property
  def path(self) -> str:
    """As it is imported."""
    return f"{self.module}.{self.name}"

  @property
  def kind(self) -> str:
    """Of Sphinx: class, exception, function or data."""
    if self.module == "attnjax.typing":
      return "data"  # aliases, mostly of jaxtyping
    if isinstance(self.value, type):
      wrong = issubclass(self.value, BaseException)
      return "exception" if wrong else "class"
    # An alias of types and a frozen dataclass can be called too.
    made = inspect.isroutine(inspect.unwrap(self.value))
    return "function" if made else "data"


def modules() -> tuple[str, ...]:
  """The public modules: the package, its rooms, and `INNER`."""
  rooms = [
    f"attnjax.{found.name}" for found in pkgutil.iter_modules(attnjax.__path__)
  ]
  return ("attnjax", *sorted({*rooms, *INNER} - {*NOT_FOR_USERS}))


def names(module: str) -> list[Name]:
  """What a module's `__all__` has, without modules.

  Raises:
    ValueError: something has no docstring, or is no longer there.
  """
  place = importlib.import_module(module)
  found = []
  for name in place.__all__:
    value = getattr(place, name)
    if isinstance(value, types.ModuleType):
      continue
    found.append(Name(module, name, value))
    if module != "attnjax.typing" and not described(found[-1]):
      raise ValueError(
        f"{module}.{name} must say what it is, for the reference: give it a"
        " docstring, or, if it is a constant, a comment above it"
      )
  # What is called first.
  kinds = ("function", "class", "exception", "data")
  return sorted(found, key=lambda one: kinds.index(one.kind))


def described(name: Name) -> str:
  """The docstring of a name, or the comment above a constant."""
  if name.kind != "data":
    return inspect.getdoc(name.value) or ""
  found = source_of(name)
  if found is None:
    return ""

  lines, node = found
  top = node.lineno - 1
  while top and lines[top - 1].startswith("# "):
    top -= 1
  return "\n".join(line[2:] for line in lines[top : node.lineno - 1])


def source_of(name: Name) -> tuple[list[str], ast.stmt] | None:
  """The file and the statement that binds a constant."""
  for module in _below(name.module):
    lines, bound = _assigned(module)
    same = getattr(module, name.name, None) is name.value
    if name.name in bound and same:
      return lines, bound[name.name]
  return None


def _below(module: str) -> Iterator[types.ModuleType]:
  """A module, and those that are imported below it or where it takes from."""
  place = importlib.import_module(module)
  yield place
  for found in pkgutil.walk_packages(
    getattr(place, "__path__", ()), module + "."
  ):
    yield importlib.import_module(found.name)


@functools.cache
def _assigned(
  module: types.ModuleType,
) -> tuple[list[str], dict[str, ast.stmt]]:
  """Lines of a module's file, and its assignments by name."""
  text = inspect.getsource(module)
  bound: dict[str, ast.stmt] = {}
  for node in ast.parse(text).body:
    if isinstance(node, ast.Assign | ast.AnnAssign):
      targets = node.targets if isinstance(node, ast.Assign) else [node.target]
      bound |= {x.id: node for x in targets if isinstance(x, ast.Name)}
  return text.splitlines(), bound
