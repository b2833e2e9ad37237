"""Texts to train on: two that every machine has, or the user's own files.

Nothing is downloaded. `english` is the language reference that Python ships as
help topics, `python` is the source of its standard library: both differ a
little from one Python version to the next, so compare numbers on one version.
"""

import difflib
import glob
import os
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from absl import logging

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


@dataclass(frozen=True)
class Document:
  r"""A text and the name it goes by; the unit that is packed and split.

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
      `books/**/*.txt`. Each file is a document. Binary files (those with a NUL
      byte), empty files and hidden ones are left out of a directory or a glob,
      and their number is logged. None takes `corpus`.

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
  for file in _walk(root, lambda folder: folder in _SKIPPED_FOLDERS):
    # _sysconfigdata is written when Python is built and names the machine.
    if file.suffix == ".py" and not file.name.startswith("_sysconfigdata"):
      text = _read(file)
      if text and _decodes(text):
        yield Document(file.relative_to(root).as_posix(), text)


CORPORA: dict[str, Callable[[], Iterator[Document]]] = {
  "english": _english,
  "python": _python,
}


def _corpus(name: str) -> Callable[[], Iterator[Document]]:
  """The corpus of that name, or an error that suggests one."""
  if name in CORPORA:
    return CORPORA[name]
  close = difflib.get_close_matches(name, CORPORA, n=1)
  hint = f"Did you mean {close[0]!r}? " if close else ""
  raise ValueError(
    f"corpus={name!r} is unknown. {hint}Expected one of {sorted(CORPORA)},"
    " or a text of your own with path=."
  )


def _from_path(path: str) -> list[Document]:
  """The text files that a file name, a directory or a glob stands for."""
  if not path.strip():
    raise ValueError(
      "path is empty: expected a file, a directory or a glob ('.' is here)."
    )
  try:
    root = Path(path).expanduser()
  except RuntimeError as error:  # ~nobody/texts
    raise ValueError(f"path {path!r}: {error}") from None
  # os.path says no where Path would raise for a folder that may not be opened.
  if os.path.isfile(root):
    return [_single(root)]
  if os.path.isdir(root):
    files = _walk(root, lambda folder: folder.startswith("."))
    return _text_files(files, lambda file: file.relative_to(root).as_posix())
  if os.path.exists(root):
    raise ValueError(
      f"path={path!r} is neither a file nor a directory (a device or a pipe);"
      " copy its text to a file and name that."
    )
  matches = [Path(match) for match in glob.glob(str(root), recursive=True)]
  if not matches:
    raise ValueError(
      f"path={path!r} does not exist, or may not be opened, and matches no"
      " file: expected a file, a directory or a glob, seen from"
      f" {os.getcwd()!r}."
    )
  return _text_files(matches, Path.as_posix)


def _single(file: Path) -> Document:
  """The one file that the user named: it must be text."""
  text = _read(file)
  if b"\0" in text:
    raise ValueError(
      f"path={str(file)!r} is a binary file (it holds a NUL byte): expected"
      " text; convert it to UTF-8 or name another file."
    )
  if not text:
    raise ValueError(
      f"path={str(file)!r} is an empty file: expected text; name another."
    )
  return Document(file.name, text)


def _text_files(
  files: Iterable[Path], name: Callable[[Path], str]
) -> list[Document]:
  """The non-empty text files among many; what is left out is counted."""
  documents, binary, empty, hidden, special = [], 0, 0, 0, 0
  for file in files:
    if file.name.startswith("."):
      hidden += 1
    elif os.path.isdir(file):
      continue
    elif not os.path.isfile(file):  # a pipe, a link to nowhere
      special += 1
    elif b"\0" in (text := _read(file)):
      binary += 1
    elif not text:
      empty += 1
    else:
      documents.append(Document(name(file), text))
  logging.info(
    "%d text files read; left out: %d binary, %d empty, %d hidden, %d not"
    " regular files",
    len(documents),
    binary,
    empty,
    hidden,
    special,
  )
  return documents


def _walk(root: Path, skip: Callable[[str], bool]) -> Iterator[Path]:
  """Every file below a directory, without the folders to skip."""
  for folder, folders, files in os.walk(root, onerror=_unreadable):
    folders[:] = sorted(name for name in folders if not skip(name))
    yield from (Path(folder, name) for name in sorted(files))


def _read(file: Path) -> bytes:
  """A file's bytes; a file that cannot be read is the user's to mend."""
  try:
    return file.read_bytes()
  except OSError as error:
    _unreadable(error)


def _unreadable(error: OSError) -> NoReturn:
  """Turns an operating system's refusal into one line."""
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
