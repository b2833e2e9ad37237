"""Reader of SWORD modules: blocks of compressed verses and two indices.

A zText module keeps a testament in three files: `.bzz` is blocks of deflated
text, `.bzs` has the place of each block, `.bzv` that of each verse in a block.
The numbers of the verses come from the versification, whose tables pysword has.
Its own reader is not used: it inflates a block again for each verse, returns
empty text for a broken file, and its cleaner joins words.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnjax.extras import needs_extra

__all__ = [
  "Reference",
  "read_module",
]


Reference = tuple[str, int, int]  # book by its OSIS name, chapter, verse


def read_module(folder: Path, versification: str) -> dict[Reference, str]:
  """The verses of a module that have text, in OSIS markup.

  Args:
    folder: the directory of `ot.bzs`, `ot.bzv`, `ot.bzz` and of the same of
      `nt`.
    versification: the module's numbering, as its .conf names it: "kjv",
      "nrsva" and others.

  Returns:
    The OSIS text of each verse, in the order of the books.

  Raises:
    ImportError: pysword is missing: `pip install 'attnjax[translation]'`.
    ValueError: a file is broken, or the versification is unknown or another
      one than the module's.

  >>> from pathlib import Path
  >>> read_module(Path("nowhere"), "kjv")
  Traceback (most recent call last):
    ...
  FileNotFoundError: [Errno 2] No such file or directory: 'nowhere/ot.bzs'
  """
  structure = _structure(versification)
  found = {}
  for testament, books in structure.get_books().items():
    texts = _Testament(folder, testament)
    for book in books:
      for chapter, verse, index in _indices(structure, testament, book):
        # A versification numbers verses that a text may not have.
        if text := texts.text(index):
          found[book.osis_name, chapter, verse] = text
  return found


class _Testament:
  """The verses of one testament, by their index."""

  def __init__(self, folder: Path, name: str):
    self._path = folder / f"{name}.bzz"
    places = (folder / f"{name}.bzs").read_bytes()
    verses = (folder / f"{name}.bzv").read_bytes()

    content = self._path.read_bytes()
    try:
      # Of a verse: block, start and length in it, little-endian.
      self._verses = list(struct.iter_unpack("<IIH", verses))
      self._blocks = [
        _inflate(content[start : start + length], size)
        # Of a block: place, compressed length, length.
        for start, length, size in struct.iter_unpack("<III", places)
      ]
    except (zlib.error, struct.error, ValueError) as error:
      raise ValueError(
        f"{self._path.with_suffix('.bz*')}: a broken SWORD module ({error});"
        " get it anew."
      ) from error

  def text(self, index: int) -> str:
    """The text of an index of the versification, "" where there is none."""
    try:
      block, start, length = self._verses[index]
      content = self._blocks[block][start : start + length] if length else b""
      if len(content) == length:
        return content.decode("utf-8")
    # One error for all of these, as for a verse that is cut short.
    except (IndexError, UnicodeDecodeError):
      pass

    raise ValueError(
      f"{self._path}: verse {index} does not lie in the module; expected its"
      " own versification, and whole files."
    )


def _inflate(block: bytes, size: int) -> bytes:
  """Decompresses a block; a ValueError if it has not the size stated."""
  text = zlib.decompress(block)
  if len(text) != size:
    raise ValueError(f"a block of {len(text)} bytes instead of {size}")
  return text


def _indices(
  structure: Any, testament: str, book: Any
) -> Iterator[tuple[int, int, int]]:
  """(chapter, verse, index in its testament) of each verse of a book."""
  name = book.osis_name.lower()
  for chapter in range(1, book.num_chapters + 1):
    # pysword spells its method so.
    indices = structure.ref_to_indicies(books=[name], chapters=[chapter])
    for verse, index in enumerate(indices[testament], start=1):
      yield chapter, verse, index


def _structure(versification: str) -> Any:
  """The books, chapters and verses of a versification."""
  with needs_extra("translation", "SWORD modules need pysword"):
    from pysword.books import BibleStructure
    from pysword.canons import canons

  if versification not in canons:
    raise ValueError(
      f"versification={versification!r} is unknown; expected one of"
      f" {sorted(canons)}."
    )
  return BibleStructure(versification)
