"""Libraries that come with an extra of the package, such as `attnjax[viz]`."""

import contextlib
from collections.abc import Iterator

__all__ = ["needs_extra"]


@contextlib.contextmanager
def needs_extra(extra: str, what: str, instead: str = "") -> Iterator[None]:
  """Adds the right `pip install` command to the error of a failed import.

  Args:
    extra: of the package, which brings the library.
    what: beginning of the error, such as "figures need matplotlib".
    instead: how to do without, put after the remedy.

  Raises:
    ImportError: an import inside fails.

  >>> with needs_extra("viz", "figures need nothing_like_it"):
  ...   import nothing_like_it
  Traceback (most recent call last):
  ImportError: figures need nothing_like_it: pip install 'attnjax[viz]'
  """
  try:
    yield
  # Also a library that is there, and whose own imports fail: the cause is
  # chained, for the remedy may be another one then.
  except ImportError as error:
    raise ImportError(
      f"{what}: pip install 'attnjax[{extra}]'{instead}"
    ) from error
