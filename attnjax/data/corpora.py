"""Corpora to train on: two that come with Python, or the user's own files.

Nothing is downloaded. `english` is the language reference that Python ships as
help topics, `python` is the source of its standard library: both differ a
little from one Python version to the next, so compare numbers on one version.
"""

import difflib
import os
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from absl import logging

from attnjax.data.file_formats import FileFormat, detect_format
from attnjax.data.folders import Walk, matching

__all__ = [
  "CORPORA",
  "Document",
  "check_path",
  "load",
]


# Installed packages and tests are left out of the standard library.
_SKIPPED_FOLDERS = frozenset(
  {
    "site-packages",
    "dist-packages",
    "__pycache__",
    "test",
    "tests",
    "idle_test",
  }
)

# Reasons not to read a file of a directory or glob, beside those of
# `detect_format`.
_HIDDEN, _EMPTY = FileFormat("hidden", "a", ""), FileFormat("empty", "an", "")
_SPECIAL = FileFormat("not regular", "a", "copy its text to a file")
_LINK = FileFormat("link to a directory read already", "a", "each is read once")


@dataclass(frozen=True)
class Document:
  r"""A text with its name; the unit of splitting and packing.

  Args:
    name: what errors and logs call it; unique within a corpus.
    text: its bytes, as they are on disk.

  >>> Document("greeting", b"hello\n").text
  b'hello\n'
  """

  name: str
  text: bytes


def load(corpus: str, path: str | None = None) -> list[Document]:
  """The documents of a corpus, or of the user's files, sorted by name.

  Args:
    corpus: `english` (Python's help topics, about 0.5 MB) or `python` (the
      standard library's sources, about 12 MB). Not looked at where `path` is
      given.
    path: a file, a directory (every text file below it) or a glob such as
      `books/**/*.txt`. Each file is a document. Links to directories are
      followed, to each directory once. Binary and compressed files, those in
      UTF-16, empty and hidden ones are left out of a directory or a glob, and
      a warning counts them by file_format. None takes `corpus`.

  Returns:
    The documents, none of them empty.

  Raises:
    ValueError: the corpus is unknown; the path does not exist, matches
      nothing, cannot be read, or is one binary or empty file; nothing is left.

  >>> documents = load("english")
  >>> [d.name for d in documents] == sorted(d.name for d in documents)
  True
  """
  if path is not None:
    logging.info("text comes from path=%r", path)
    documents = _from_path(path)
  else:
    documents = list(_corpus(corpus)())

  if not documents:
    where = f"corpus={corpus!r}" if path is None else f"path={path!r}"
    raise ValueError(
      f"{where} holds no text: expected at least one non-empty text file;"
      " name another with path=."
    )

  # The order of a directory's files differs between file systems.
  return sorted(documents, key=lambda document: document.name)


def _english() -> Iterator[Document]:
  """Python's help topics, one document a topic."""
  from pydoc_data import topics  # 0.7 MB of text: only when it is asked for

  for name, text in topics.topics.items():
    if text:
      yield Document(name, text.encode())


def _python() -> Iterator[Document]:
  """The standard library's source files."""
  root = Path(sysconfig.get_path("stdlib"))
  for file in _walk(root):
    # _sysconfigdata is written when Python is built and names the machine.
    if file.suffix == ".py" and not file.name.startswith("_sysconfigdata"):
      text = _read(file)
      if text and _decodes(text):
        yield Document(file.relative_to(root).as_posix(), text)


# Texts that this machine has, by name: each makes an iterator of documents.
CORPORA: dict[str, Callable[[], Iterator[Document]]] = {
  "english": _english,
  "python": _python,
}


def _corpus(name: str) -> Callable[[], Iterator[Document]]:
  """The reader of a corpus by its name."""
  if name in CORPORA:
    return CORPORA[name]
  close = difflib.get_close_matches(name, CORPORA, n=1)
  hint = f"Did you mean {close[0]!r}? " if close else ""
  raise ValueError(
    f"corpus={name!r} is unknown. {hint}Expected one of {sorted(CORPORA)},"
    " or a text of your own with path=."
  )


def check_path(path: str) -> None:
  """Checks that a path names a file, directory or glob, without reading any.

  Args:
    path: as for `load`.

  Raises:
    ValueError: nothing is there, or may not be read.

  >>> check_path("no/such/file")
  Traceback (most recent call last):
  ValueError: path='no/such/file' does not exist, ...
  """
  root = _root(path)
  if os.path.isfile(root):
    if not os.access(root, os.R_OK):
      raise ValueError(
        f"path: {str(root)!r} cannot be read (Permission denied); make it"
        " readable or name another file."
      )
    if not os.path.getsize(root):
      raise ValueError(
        f"path: {str(root)!r} is an empty file: expected text; name another."
      )
  elif not os.path.isdir(root):
    _matches(path, root)


def _from_path(path: str) -> list[Document]:
  """The text files of a file name, a directory or a glob."""
  root = _root(path)
  # os.path returns False where Path raises, for a folder without permission.
  if os.path.isfile(root):
    return [_single(root)]

  if os.path.isdir(root):
    walk = Walk(root)
    files = [file for folder in walk for file in _files(folder)]
    name = lambda file: file.relative_to(root).as_posix()
    return _text_files(files, name, walk.left_out)

  matches, left_out = _matches(path, root)
  return _text_files(matches, Path.as_posix, left_out)


def _root(path: str) -> Path:
  """The path of a file, a directory or a glob, with its `~` expanded."""
  if not path.strip():
    raise ValueError(
      "path is empty: expected a file, a directory or a glob ('.' is here)."
    )
  try:
    return Path(path).expanduser()
  except RuntimeError as error:  # ~nobody/texts
    raise ValueError(f"path {path!r}: {error}") from None


def _matches(path: str, root: Path) -> tuple[list[Path], list[Path]]:
  """Files that a glob matches, and the links that it did not follow."""
  if os.path.exists(root):
    raise ValueError(
      f"path={path!r} is neither a file nor a directory (a device or a pipe);"
      " copy its text to a file and name that."
    )

  matches, left_out = matching(str(root))
  if not matches:
    raise ValueError(
      f"path={path!r} does not exist, or may not be opened, and matches no"
      " file: expected a file, a directory or a glob, seen from"
      f" {os.getcwd()!r}."
    )

  return matches, left_out


def _single(file: Path) -> Document:
  """The document of one file, which must be text."""
  text = _read(file)
  # A file that is named by itself must be text; one of many is left out.
  file_format = detect_format(text)
  if file_format is not None:
    raise ValueError(
      f"path={str(file)!r} is {file_format.article} {file_format.name} file:"
      f" expected text; {file_format.remedy}, or name another file."
    )

  if not text:
    raise ValueError(
      f"path={str(file)!r} is an empty file: expected text; name another."
    )

  return Document(file.name, text)


def _text_files(
  files: Iterable[Path], name: Callable[[Path], str], links: Sequence[Path]
) -> list[Document]:
  """The text files among many, as documents; logs the files left out."""
  documents: list[Document] = []
  left_out: dict[FileFormat, list[Path]] = {_LINK: [*links]}

  for file in files:
    # A glob such as `books/*` matches directories too.
    if os.path.isdir(file):
      continue
    file_format, text = _format_and_text(file)
    if file_format is None:
      documents.append(Document(name(file), text))
    else:
      left_out.setdefault(file_format, []).append(file)

  _log_left_out(len(documents), left_out)
  return documents


def _format_and_text(file: Path) -> tuple[FileFormat | None, bytes]:
  """(reason to leave a file out or None, its bytes)."""
  if file.name.startswith("."):
    return _HIDDEN, b""
  if not os.path.isfile(file):  # a pipe, a link to nowhere
    return _SPECIAL, b""
  text = _read(file)
  return detect_format(text) or (None if text else _EMPTY), text


def _log_left_out(
  read: int, left_out: Mapping[FileFormat, Sequence[Path]]
) -> None:
  """Logs how many files were read, and how many were not and why."""
  # Hidden and empty files are left out without a warning.
  said, level = [], logging.INFO
  for file_format, files in left_out.items():
    if not files:
      continue
    remedy = f": {file_format.remedy}" if file_format.remedy else ""
    said.append(f"{len(files)} {file_format.name} ({str(files[0])!r}{remedy})")
    if file_format not in (_HIDDEN, _EMPTY):
      level = logging.WARNING

  text = ", ".join(said) or "none"
  logging.log(level, "%d text files read; left out: %s", read, text)


def _files(folder: Path) -> list[Path]:
  """The files of a directory, sorted by name."""
  try:
    return sorted(path for path in folder.iterdir() if not os.path.isdir(path))
  except OSError as error:
    _unreadable(error)


def _walk(root: Path) -> Iterator[Path]:
  """Every file of the standard library but its tests, sorted."""
  for folder, folders, files in os.walk(root, onerror=_unreadable):
    # In place: os.walk descends into the names that are left in this list.
    folders[:] = sorted(set(folders) - _SKIPPED_FOLDERS)
    yield from (Path(folder, name) for name in sorted(files))


def _read(file: Path) -> bytes:
  """The bytes of a file; a ValueError where it cannot be read."""
  try:
    return file.read_bytes()
  except OSError as error:
    _unreadable(error)


def _unreadable(error: OSError) -> NoReturn:
  """Raises an OSError as a ValueError of one line."""
  raise ValueError(
    f"path: {error.filename!r} cannot be read ({error.strerror}); make it"
    " readable or leave it out of the path."
  ) from error


def _decodes(text: bytes) -> bool:
  """Whether the bytes are valid UTF-8."""
  try:
    text.decode()
  except UnicodeDecodeError:
    return False
  return True
