"""How a public name is called, in the words of its source.

Annotations are shown as they were written, ``Float[Array, "*B T H D"]``: the
shapes are what a reader looks for, and evaluated they are long or lost.
"""

import ast
import dataclasses
import inspect
import textwrap
from typing import Any, get_args, get_type_hints

__all__ = ["signature"]


def signature(value: Any, *, method: bool = False) -> str:
  """The arguments and what is returned, as Python.

  Args:
    value: a function or a class.
    method: whether the first argument is the object itself, and is left out.

  >>> def scaled(x: "Float[Array, 'T']", by: float = 2.0) -> float: ...
  >>> signature(scaled)
  "(x: Float[Array, 'T'], by: float=2.0) -> float"
  """
  if isinstance(value, type):
    return _of_class(value)

  node = _definition(value)
  if node is None:  # a lambda, or made by another function
    return _plain(value)
  arguments = node.args
  if method and (first := arguments.posonlyargs or arguments.args):
    first.pop(0)

  for part in ast.walk(arguments):
    if isinstance(part, ast.arg) and part.annotation is not None:
      part.annotation = ast.parse(_written(part.annotation), mode="eval").body
  text = ast.unparse(_expanded(arguments, value))
  returns = f" -> {_written(node.returns)}" if node.returns else ""
  return f"({text}){returns}"


def _of_class(cls: type) -> str:
  """What a class is made of: its fields, or the arguments of `__init__`."""
  if "__init__" not in vars(cls) and not dataclasses.is_dataclass(cls):
    own = [c for c in cls.__mro__ if "__init__" in vars(c)]
    if not own or not own[0].__module__.startswith("attnjax"):
      return ""  # an enumeration, or a base that is not made by itself
    cls = own[0]

  if not dataclasses.is_dataclass(cls) or "__init__" not in vars(cls):
    return signature(cls.__init__, method=True)  # type: ignore[misc]
  if not _generated(cls):
    return signature(cls.__init__, method=True)

  parts = []
  keyword = False
  for field in dataclasses.fields(cls):
    if not field.init:
      continue
    if field.kw_only and not keyword:
      parts.append("*")
      keyword = True
    parts.append(
      f"{field.name}: {_annotation(cls, field.name)}{_default(field)}"
    )
  return f"({', '.join(parts)})"


def _generated(cls: type) -> bool:
  """Whether `__init__` was made by `dataclasses`: it has no file."""
  code = getattr(cls.__init__, "__code__", None)  # type: ignore[misc]
  return code is None or code.co_filename.startswith("<")


def _annotation(cls: type, name: str) -> str:
  """The annotation of a field, from the class that declares it."""
  for owner in cls.__mro__:
    if name not in vars(owner).get("__annotations__", {}):
      continue
    node = _definition(owner)
    for line in getattr(node, "body", ()):
      if isinstance(line, ast.AnnAssign) and line.target.id == name:  # type: ignore[union-attr]
        return _written(line.annotation)
  return "Any"


def _default(field: dataclasses.Field) -> str:
  """`` = ...`` of a field that has a default."""
  if field.default is not dataclasses.MISSING:
    text = repr(field.default)
    return f" = {text}" if _parses(text) else " = ..."
  return "" if field.default_factory is dataclasses.MISSING else " = ..."


def _parses(text: str) -> bool:
  """Whether a text is Python, and short enough for a signature."""
  try:
    ast.parse(text, mode="eval")
  except SyntaxError:
    return False
  return len(text) <= 60


def _definition(value: Any) -> Any:
  """The node of a function or a class in its file, or None."""
  try:
    text = inspect.getsource(inspect.unwrap(value))
    (node, *_) = ast.parse(textwrap.dedent(text)).body
  except (OSError, TypeError, SyntaxError):
    return None
  known = ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef
  return node if isinstance(node, known) else None


def _expanded(arguments: ast.arguments, value: Any) -> ast.arguments:
  """Arguments, with ``**options: Unpack[Options]`` as the options."""
  rest = arguments.kwarg
  if rest is None or "Unpack[" not in ast.unparse(
    rest.annotation or ast.Name("")
  ):
    return arguments

  hints = get_type_hints(inspect.unwrap(value), include_extras=True)
  (options,) = get_args(hints[rest.arg])
  for line in _definition(options).body:
    if isinstance(line, ast.AnnAssign):
      arguments.kwonlyargs.append(ast.arg(line.target.id, line.annotation))  # type: ignore[union-attr]
      arguments.kw_defaults.append(ast.Constant(...))
  arguments.kwarg = None
  return arguments


def _written(node: ast.expr) -> str:
  """An annotation; one in quotes without them."""
  if isinstance(node, ast.Constant) and isinstance(node.value, str):
    return node.value
  return ast.unparse(node)


def _plain(value: Any) -> str:
  """The signature that Python knows, if any."""
  try:
    return str(inspect.signature(value))
  except (TypeError, ValueError):
    return "(...)"
