"""Downloads a model of the Hugging Face hub, pinned by its revision."""

import re
from pathlib import Path

from attnjax.extras import needs_extra

__all__ = ["downloaded"]

_FILES = ["*.json", "*.safetensors", "*.jinja"]


def downloaded(name: str, revision: str | None) -> Path:
  """The directory of a hub model, downloaded if it is not there yet.

  Args:
    name: ``owner/name``.
    revision: the commit, 40 hexadecimal digits.

  Raises:
    ValueError: this is neither a directory nor a name of the hub, or the
      revision is no commit.
    ImportError: huggingface_hub is missing: `pip install 'attnjax[published]'`.

  >>> downloaded("no/such/folder", None)
  Traceback (most recent call last):
    ...
  ValueError: path='no/such/folder' must be a directory, or owner/name of ...
  """
  if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
    raise ValueError(
      f"path={name!r} must be a directory, or owner/name of a model of the hub,"
      " and is neither"
    )
  if revision is None or not re.fullmatch("[0-9a-f]{40}", revision):
    raise ValueError(
      f"path={name!r} is no directory; for a model of the hub give its"
      f" revision=, a commit of 40 hexadecimal digits, got {revision!r}: a"
      " branch moves"
    )
  with needs_extra("published", "models of the hub need huggingface_hub"):
    import huggingface_hub

  return Path(
    huggingface_hub.snapshot_download(
      name, revision=revision, allow_patterns=_FILES
    )
  )
