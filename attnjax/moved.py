"""Import hook for old module paths and names, with a `DeprecationWarning`.

A finder at the end of `sys.meta_path`, where Python asks only for modules that
do not exist, makes an empty module of each key of `renames.MOVED`. Its
attributes are looked up in `renames.NAMES`, then in the new modules. A module
that still exists and has lost names gets
``__getattr__ = forward_names(__name__)``.
"""

import importlib
import importlib.abc
import importlib.machinery
import pkgutil
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

from attnjax.renames import MOVED, NAMES

__all__ = ["forward_names", "install", "moved_name"]


def moved_name(module: str, name: str, stacklevel: int = 3) -> Any:
  """The object that a module once had under a name, with a warning.

  Args:
    module: its dotted name.
    name: the attribute that it lacks.
    stacklevel: of the warning; 3 is the caller of the module's `__getattr__`,
      which calls this.

  Raises:
    AttributeError: the module never had such a name.

  >>> import warnings
  >>> with warnings.catch_warnings(record=True) as caught:
  ...   warnings.simplefilter("always")
  ...   print(moved_name("attnjax.training", "fit").__module__)
  attnjax.runs.fitting
  >>> print(caught[0].message)
  attnjax.training.fit has moved: use attnjax.runs.fit
  """
  new = NAMES.get(f"{module}.{name}")
  if new is None:
    raise AttributeError(f"module {module!r} has no attribute {name!r}")

  warnings.warn(
    f"{module}.{name} has moved: use {new}",
    DeprecationWarning,
    stacklevel=stacklevel,
  )
  # Imported only now: the tables name modules that need Flax, Optax or Orbax.
  return pkgutil.resolve_name(new)


def forward_names(module: str) -> Callable[[str], Any]:
  """The `__getattr__` of a module that exists and has lost names.

  Args:
    module: its dotted name; `renames.NAMES` has the names that it lost.

  >>> forward_names("attnjax.config")("no_such_setting")
  Traceback (most recent call last):
  AttributeError: module 'attnjax.config' has no attribute 'no_such_setting'
  """
  return lambda name: moved_name(module, name)


class _Moved(types.ModuleType):
  """A module that was merged or renamed: forwards its attributes."""

  def __getattr__(self, name: str):
    """The attribute of the new module, with a warning that names it.

    Raises:
      AttributeError: no new module has such a name.
    """
    # `from old import *` asks for `__all__`; other names with two underscores
    # are asked for by the import system itself.
    if name.startswith("__") and name != "__all__":
      raise AttributeError(name)

    if f"{self.__name__}.{name}" in NAMES:
      return moved_name(self.__name__, name)

    # A module may have been divided among several.
    for place in MOVED[self.__name__]:
      module = importlib.import_module(place)
      if hasattr(module, name):
        warnings.warn(
          f"{self.__name__}.{name} has moved: import it from {place}",
          DeprecationWarning,
          stacklevel=2,
        )
        return getattr(module, name)

    raise AttributeError(
      f"module {self.__name__!r} has moved to"
      f" {' and '.join(MOVED[self.__name__])}, where there is no {name!r}"
    )


class _KeepsNames(types.ModuleType):
  """A package with an attribute named as a module that was merged."""

  def __setattr__(self, name: str, value):
    """Sets an attribute, but for a `_Moved` module over another object."""
    taken = name in vars(self) or f"{self.__name__}.{name}" in NAMES
    if not (isinstance(value, _Moved) and taken):
      super().__setattr__(name, value)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  """Finder and loader of the modules in `MOVED`."""

  def find_spec(self, fullname, path=None, target=None):
    """The spec of a module in `MOVED`; None for any other."""
    del path, target
    if fullname not in MOVED:
      return None
    # A package too, for modules below it may have moved as well.
    return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

  def create_module(self, spec):
    """An empty module that forwards its attributes."""
    return _Moved(spec.name)

  def exec_module(self, module):
    """Protects an attribute of the package that has the module's name.

    Python sets each imported module as an attribute of its package: it would
    replace the function `attnjax.ops.scoring.additive` by a module.
    """
    package, _, name = module.__name__.rpartition(".")
    # `attnjax.training.fit`, for one, was a module and a function: the
    # attribute stays the function. PEP 562 has no `__setattr__` for modules, so
    # the class of the package is replaced.
    if name in vars(sys.modules[package]) or module.__name__ in NAMES:
      sys.modules[package].__class__ = _KeepsNames


def install() -> None:
  """Makes old paths importable; a second call changes nothing.

  >>> import sys
  >>> install()
  >>> sum(isinstance(finder, _Finder) for finder in sys.meta_path)
  1
  """
  if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
    sys.meta_path.append(_Finder())

  for old in MOVED:
    parent = sys.modules.get(old.rpartition(".")[0])
    # Python imports submodules of packages only: a former package that is a
    # file now gets an empty `__path__`.
    if parent is not None and not hasattr(parent, "__path__"):
      parent.__path__ = []
