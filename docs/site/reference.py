"""The reference: one page a public module, made from docstrings."""

import dataclasses
import enum
import importlib
import inspect
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from docs.site import public
from docs.site.docstrings import Resolve, inline, rest, summary
from docs.site.signatures import signature

__all__ = ["Index", "index_page", "module_page"]

ROOT = pathlib.Path(__file__).parents[2]


class Index:
  """Every public name and documented method, to find what a text names."""

  def __init__(self):
    self.names = {module: public.names(module) for module in public.modules()}
    self.paths = {n.path for found in self.names.values() for n in found}
    self.paths |= {*self.names}
    self._methods = {
      f"{name.path}.{method}"
      for found in self.names.values()
      for name in found
      if isinstance(name.value, type)
      for method, _, _ in members(name.value)
    }
    self._short: dict[str, set[str]] = {}
    for path in self.paths | self._methods:
      parts = path.split(".")
      for at in range(1, len(parts)):
        self._short.setdefault(".".join(parts[at:]), set()).add(path)

  def resolver(self, module: str) -> Resolve:
    """Finds names as a text in a module means them.

    The name in the module itself comes first, then a full path, then one of
    the package, then the only one of its name.
    """

    def resolve(name: str) -> str | None:
      if not re.fullmatch(r"[A-Za-z_][\w.]*(\(\))?", name):
        return None
      name = name.removesuffix("()")
      known = self.paths | self._methods
      for path in (f"{module}.{name}", name, f"attnjax.{name}"):
        if path in known:
          return path
      alone = self._short.get(name, set())
      # `length` or `step` is an argument more often than a method of a class.
      method = "." not in name and not alone & self.paths
      return next(iter(alone)) if len(alone) == 1 and not method else None

    return resolve


def index_page(index: Index) -> str:
  """The page that lists the modules."""
  lines = [
    "Reference",
    "=========",
    "",
    "Every public name, with its equation, shapes, errors, source and an"
    " example that the tests run. It is made from the docstrings: in Python,"
    " ``help(attnjax.attend)`` says the same.",
    "",
    "Letters of shapes are those of :py:mod:`attnjax.typing`: B batch, T"
    " queries, S keys, H heads, K key heads, D and E widths, M width of the"
    " model. The layout is BTHD, and ``*B`` is any number of batch axes.",
    "",
    ".. list-table::",
    "   :widths: 30 70",
    "",
  ]
  for module in index.names:
    doc = importlib.import_module(module).__doc__ or ""
    told = inline(_told(doc, module), index.resolver(module))
    lines += [f"   * - :py:mod:`{module}`", f"     - {told}"]

  lines += ["", ".. toctree::", "   :hidden:", ""]
  return "\n".join([*lines, *(f"   {module}" for module in index.names), ""])


def module_page(module: str, index: Index) -> str:
  """The page of one module."""
  resolve = index.resolver(module)
  names = index.names[module]
  doc = inspect.cleandoc(importlib.import_module(module).__doc__ or "")
  lines = [module, "=" * len(module), "", f".. py:module:: {module}", ""]
  lines += rest(_without_list(doc, {n.name for n in names}), resolve)

  lines += [".. list-table::", "   :widths: 30 70", ""]
  for name in names:
    told = inline(_first(name), resolve)
    lines += [f"   * - :py:obj:`{name.name} <{name.path}>`", f"     - {told}"]
  lines.append("")

  seen: dict[int, str] = {}
  for name in names:
    lines += _entry(name, index, resolve)
    seen[id(name.value)] = name.path
  return "\n".join(lines)


def _told(doc: str, module: str) -> str:
  """The first line of a module, without its own name in front."""
  told = summary(doc)
  return told.removeprefix(f"{module}: ")


def _without_list(doc: str, names: set[str]) -> str:
  """A module's docstring without its list of names, which is a table here."""
  kept: list[str] = []
  skipped = False
  for line in doc.splitlines():
    item = re.match(r"  (\w+): ", line)
    if item and item[1] in names:
      skipped = True
    elif not (skipped and line.startswith("    ")):
      skipped = False
      kept.append(line)
  return "\n".join(kept)


def _first(name: public.Name) -> str:
  """The first line of a name."""
  if name.module == "attnjax.typing":
    return f"``{name.value!r}``".replace("typing.", "")
  return summary(public.described(name))


def _entry(name: public.Name, index: Index, resolve: Resolve) -> Iterator[str]:
  """The lines of one name."""
  value = name.value
  if name.module == "attnjax.typing":
    yield from (f".. py:data:: {name.name}", "", f"   {_first(name)}", "")
    return

  called = "" if name.kind == "data" else signature(value)
  yield from (f".. py:{name.kind}:: {name.name}{called}", "")
  body: list[str] = []
  if isinstance(value, type):
    bases = [b for b in value.__mro__[1:] if b.__module__.startswith("attnjax")]
    shown = [resolve(base.__name__) for base in bases]
    if any(shown):
      linked = ", ".join(f":py:obj:`{path}`" for path in shown if path)
      body += [f"A kind of {linked}.", ""]
  body += rest(public.described(name), resolve)
  if name.kind == "data":
    body += _value(value)
  if isinstance(value, type):
    body += _settings(value, resolve)
    if issubclass(value, enum.Enum):
      body += ["Values: " + ", ".join(f"``{x.name}``" for x in value) + ".", ""]
    for method, member, kind in members(value):
      body += _member(method, member, kind, resolve)
  where = _file(name)
  if where:
    body += [f".. rst-class:: defined\n\n   Defined in ``{where}``.", ""]
  for line in "\n".join(body).splitlines():
    yield f"   {line}" if line else ""
  yield ""


def _value(value: Any) -> list[str]:
  """What a constant is, where that is short."""
  text = repr(value)
  if isinstance(value, dict):
    text = "{" + ", ".join(f"{key!r}: ..." for key in value) + "}"
  if len(text) > 600:
    text = text[:600].rsplit(",", 1)[0] + ", ..."
  return [".. code-block:: python", "", f"   {text}", ""]


def _settings(cls: type, resolve: Resolve) -> list[str]:
  """A table of the settings of a config."""
  if not dataclasses.is_dataclass(cls):
    return []
  rows = [f for f in dataclasses.fields(cls) if "help" in f.metadata]
  if not rows:
    return []
  lines = [".. list-table::", "   :header-rows: 1", "   :widths: 22 18 60", ""]
  lines += ["   * - setting", "     - default", "     - meaning"]
  for field in rows:
    told = inline(field.metadata["help"], resolve)
    if choices := field.metadata["choices"]:
      told += "; one of " + ", ".join(f"``{choice}``" for choice in choices)
    limits = str(field.metadata["range"])
    if limits:
      told += f"; {inline(limits, resolve)}"
    shown = f"``{field.default!r}``"
    lines += [f"   * - ``{field.name}``", f"     - {shown}", f"     - {told}"]
  return [*lines, ""]


def members(cls: type) -> Iterator[tuple[str, Callable, str]]:
  """(name, function, kind) of what a class documents, in order of source."""
  seen = set()
  for owner in cls.__mro__:
    if not owner.__module__.startswith("attnjax"):
      continue
    # A base with a page of its own tells of its methods there.
    for name, member in vars(owner).items():
      hidden = name.startswith("_") and name != "__call__"
      if name in seen or hidden:
        continue
      seen.add(name)
      if isinstance(member, property):
        function, kind = member.fget, "property"
      elif isinstance(member, classmethod | staticmethod):
        function, kind = member.__func__, type(member).__name__
      elif inspect.isfunction(member):
        function, kind = member, "method"
      else:
        continue
      if function is not None and inspect.getdoc(function):
        yield name, function, kind


def _member(
  name: str, function: Callable, kind: str, resolve: Resolve
) -> list[str]:
  """The lines of a method or a property."""
  if kind == "property":
    lines = [f".. py:property:: {name}", ""]
  else:
    called = signature(function, method=kind != "staticmethod")
    lines = [f".. py:method:: {name}{called}"]
    lines += [] if kind == "method" else [f"   :{kind}:"]
    lines += [""]
  told = rest(inspect.getdoc(function) or "", resolve)
  return [*lines, *(f"   {line}" if line else "" for line in told), ""]


def _file(name: public.Name) -> str:
  """The file that defines a name, from the root; nothing of a constant."""
  if name.kind == "data":
    return ""
  path = inspect.getsourcefile(inspect.unwrap(name.value))
  return pathlib.Path(path).relative_to(ROOT).as_posix() if path else ""
