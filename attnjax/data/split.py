"""Splits documents into training and held-out text without overlap.

The split depends on the contents of the documents alone: not on their order,
their names or a random number.

Documents quote each other. Half of Python's help topics are sections of longer
topics, word for word, and its character tables differ in a few lines: were one
of two such documents held out, a model that has learned the other by heart
would look good. So documents of which few lines occur elsewhere come first.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from absl import logging

from attnjax.data.corpora import Document

__all__ = [
  "QUOTATION",
  "shared_lines",
  "split",
]


# Filling stops here: were it to go on to 100 %, the last gap would be filled
# with nothing but the corpus's tiniest files.
_FULL_ENOUGH = 0.95
# Shorter lines, such as `return None`, are alike without being quoted.
_LONG_LINE = 32
# A document that shares more than this part of its long lines is a quotation;
# a licence at the head of a file is less.
QUOTATION = 0.1
# A document that would be more than this part of the held-out text waits, so
# that the text is not one author on one subject.
_LARGE = 0.25


def split(
  documents: Sequence[Document], heldout_fraction: float
) -> tuple[list[Document], list[Document]]:
  """Splits documents into a training side and a held-out side.

  Exact duplicates are dropped. The documents are taken in the order of the
  SHA-256 of their text and held out while they fit into `heldout_fraction` of
  all bytes; if not even one fits, the first of the smallest is held out. Two
  kinds come last: a document that would be more than a quarter of the held-out
  text; and, after those, one that shares more than a tenth of its long lines
  (32 bytes or more) with others, see `shared_lines`.

  A text that is one single document is cut in two instead: its tail is held
  out, from the blank line nearest to the wanted place (from the nearest line,
  or failing that the nearest character, where there is no blank line near).

  Args:
    documents: what to split; empty texts are dropped.
    heldout_fraction: about which part of the bytes to hold out, in (0, 1).

  Returns:
    (train, heldout), each sorted by name and neither of them empty.

  Raises:
    ValueError: the fraction is not inside (0, 1), or there is too little text
      for two sides.

  >>> from attnjax.data.corpora import Document
  >>> texts = [Document(str(n), bytes([n]) * 50) for n in range(20)]
  >>> train, heldout = split(texts, 0.1)
  >>> len(train), len(heldout), set(train) & set(heldout)
  (18, 2, set())
  """
  if not 0 < heldout_fraction < 1:
    raise ValueError(
      "heldout_fraction: expected a number between 0 and 1, both excluded, got"
      f" {heldout_fraction}; 0.1 is usual."
    )

  unique = _unique(documents)
  if not unique:
    raise ValueError("documents: expected some text to split, got none.")
  if len(unique) == 1:
    return _cut(unique[0], heldout_fraction)

  # In bytes, for documents differ in length by orders of magnitude.
  target = heldout_fraction * sum(len(d.text) for d in unique)
  unique = _best_first(unique, target)
  held = _held_out([len(d.text) for d in unique], target)
  train = [d for index, d in enumerate(unique) if index not in held]

  return sorted(train, key=_name), sorted((unique[i] for i in held), key=_name)


def shared_lines(documents: Sequence[Document]) -> list[float]:
  r"""The part of each document that occurs in other documents too.

  Args:
    documents: texts, each given once.

  Returns:
    For each document, the part of the bytes of its distinct lines of 32 bytes
    or more, stripped, that also stand in another document; 0 where it has no
    such line.

  >>> from attnjax.data.corpora import Document
  >>> line = b"a line that is long enough to be told apart"
  >>> one, two = Document("1", line), Document("2", line[::-1] + b"\n" + line)
  >>> shared_lines([one, two])
  [1.0, 0.5]
  """
  lines = [_long_lines(document.text) for document in documents]
  holders = Counter(line for distinct in lines for line in distinct)
  return [
    sum(len(line) for line in distinct if holders[line] > 1)
    / max(1, sum(map(len, distinct)))
    for distinct in lines
  ]


def _long_lines(text: bytes) -> set[bytes]:
  """The distinct lines, stripped, that are long enough to be a quotation."""
  lines = (line.strip() for line in text.splitlines())
  return {line for line in lines if len(line) >= _LONG_LINE}


def _unique(documents: Sequence[Document]) -> list[Document]:
  """The non-empty documents by content hash, each text once."""
  by_hash: dict[bytes, Document] = {}
  for document in sorted(documents, key=_name):
    if document.text:
      # Sorted by hash: an order that depends on the contents alone.
      digest = hashlib.sha256(document.text).digest()
      by_hash.setdefault(digest, document)
  dropped = len(documents) - len(by_hash)
  if dropped:
    logging.info("%d duplicate or empty documents dropped", dropped)
  return [by_hash[digest] for digest in sorted(by_hash)]


def _best_first(documents: list[Document], target: float) -> list[Document]:
  """Sorts small documents of own lines first; stable."""
  shares = shared_lines(documents)
  order = sorted(
    range(len(documents)),
    key=lambda index: (
      shares[index] > QUOTATION,
      len(documents[index].text) > _LARGE * target,
    ),
  )
  return [documents[index] for index in order]


def _held_out(sizes: list[int], target: float) -> set[int]:
  """Indices of the documents to hold out: greedily, while they fit."""
  held: set[int] = set()
  size = 0
  for index, more in enumerate(sizes):
    if size >= _FULL_ENOUGH * target:
      break
    if size + more <= target:
      held.add(index)
      size += more
  # Not one fits: the smallest, so that the held-out text is not empty.
  return held or {sizes.index(min(sizes))}


def _cut(
  document: Document, fraction: float
) -> tuple[list[Document], list[Document]]:
  """Cuts a text that is one document: the tail is held out."""
  text = document.text
  place = _cut_place(text, round(len(text) * (1 - fraction)))
  if not 0 < place < len(text):
    raise ValueError(
      f"documents: {document.name!r} is the only document and its"
      f" {len(text)} bytes cannot be cut at heldout_fraction={fraction};"
      " give a longer text, or split it into several files."
    )

  logging.info(
    "%r is the only document: cut at byte %d, the last %d bytes are held out",
    document.name,
    place,
    len(text) - place,
  )

  return (
    [Document(f"{document.name}[:{place}]", text[:place])],
    [Document(f"{document.name}[{place}:]", text[place:])],
  )


def _cut_place(text: bytes, place: int) -> int:
  """The nearest end of a paragraph, a line or a character to a place."""
  # The cut moves by at most a quarter of the smaller side.
  reach = min(place, len(text) - place) // 4
  start = place - reach
  window = text[start : place + reach]

  for pattern in (rb"\n[ \t\r]*\n", rb"\n"):
    ends = [start + match.end() for match in re.finditer(pattern, window)]
    if ends:
      return min(ends, key=lambda end: abs(end - place))

  # 0b10xxxxxx continues a UTF-8 character: do not cut inside of one.
  while place < len(text) and text[place] & 0xC0 == 0x80:
    place += 1

  return place


def _name(document: Document) -> str:
  """The key that documents are sorted by."""
  return document.name
