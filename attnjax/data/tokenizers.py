"""Lossless tokenizers: bytes to token ids and back.

A tokenizer is a value: two with the same digest give the same ids. Every one
has a boundary token that no text can contain; it opens each document.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Int, Int32

__all__ = [
  "ByteTokenizer",
  "Tokenizer",
  "check_ids",
  "load_tokenizer",
  "show",
  "write_tokenizer",
]


_FILE = "tokenizer.json"


@runtime_checkable
class Tokenizer(Protocol):
  """Interface of a tokenizer: bytes to ids in [0, vocabulary_size) and back.

  >>> isinstance(ByteTokenizer(), Tokenizer)
  True
  """

  @property
  def vocabulary_size(self) -> int:
    """How many ids there are, the boundary included."""

  @property
  def boundary(self) -> int:
    """The id that opens a document; no text encodes to it."""

  @property
  def digest(self) -> str:
    """Hash of the mapping: the same digest, the same ids for every text."""

  def encode(self, text: bytes) -> Int32[np.ndarray, "T"]:
    """The ids of a text."""

  def decode(self, ids: Int[np.ndarray, "T"]) -> bytes:
    """The text of some ids; a boundary adds nothing."""

  def token_bytes(self, token: SupportsIndex) -> bytes:
    """The bytes that one id stands for; none for the boundary."""

  def save(self, directory: str | Path) -> None:
    """Writes the tokenizer as JSON, for `load_tokenizer`."""


@dataclass(frozen=True)
class ByteTokenizer:
  r"""Every byte is a token: id b is the byte b, 256 opens a document.

  >>> tokenizer = ByteTokenizer()
  >>> tokenizer.encode(b"hi")
  array([104, 105], dtype=int32)
  >>> tokenizer.decode(tokenizer.encode(b"any bytes: \xff"))
  b'any bytes: \xff'
  """

  @property
  def vocabulary_size(self) -> int:
    """256 bytes and the boundary."""
    return 257

  @property
  def boundary(self) -> int:
    """The id that opens a document."""
    return 256

  @property
  def digest(self) -> str:
    """The same for every ByteTokenizer."""
    return "bytes"

  def encode(self, text: bytes) -> Int32[np.ndarray, "T"]:
    """The bytes as int32."""
    return np.frombuffer(text, np.uint8).astype(np.int32)

  def decode(self, ids: Int[np.ndarray, "T"]) -> bytes:
    """The bytes of some ids; ValueError for an id outside [0, 257)."""
    ids = np.asarray(ids)
    check_ids(ids, self.vocabulary_size)
    return ids[ids != self.boundary].astype(np.uint8).tobytes()

  def token_bytes(self, token: SupportsIndex) -> bytes:
    """The one byte of an id; none for the boundary."""
    return self.decode(np.array([token.__index__()]))

  def save(self, directory: str | Path) -> None:
    """Writes `tokenizer.json` into the directory, which is made."""
    write_tokenizer(directory, {"kind": "bytes", "digest": self.digest})


def load_tokenizer(directory: str | Path) -> Tokenizer:
  """The tokenizer that `save` wrote into a directory.

  Args:
    directory: where `tokenizer.json` is.

  Returns:
    A tokenizer equal to the one saved.

  Raises:
    ValueError: the file is missing, damaged or of an unknown kind.

  >>> import tempfile
  >>> with tempfile.TemporaryDirectory() as directory:
  ...   ByteTokenizer().save(directory)
  ...   load_tokenizer(directory) == ByteTokenizer()
  True
  """
  file = Path(directory) / _FILE
  try:
    saved = json.loads(file.read_text())
    tokenizer = _from_json(saved)
    # Compared with the digest of what was read: an edited file is refused.
    whole = tokenizer.digest == saved["digest"]
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f"directory: {str(file)!r} is not a saved tokenizer ({error!r});"
      " expected a file written by Tokenizer.save."
    ) from error

  if not whole:
    raise ValueError(
      f"directory: {str(file)!r} was changed since it was saved (its digest"
      " does not fit its content); save the tokenizer again."
    )

  return tokenizer


def show(tokenizer: Tokenizer, token: SupportsIndex) -> str:
  r"""A token as printable text, for plots and tables.

  Args:
    tokenizer: of the token.
    token: its id.

  Returns:
    Its text with control characters and broken UTF-8 escaped; `<|>` for the
    boundary.

  >>> [show(ByteTokenizer(), token) for token in (65, 10, 255, 256)]
  ['A', '\\n', '\\xff', '<|>']
  """
  if token.__index__() == tokenizer.boundary:
    return "<|>"
  # A token may be a part of a UTF-8 character.
  text = tokenizer.token_bytes(token).decode("utf-8", "backslashreplace")
  return "".join(
    c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
  )


def _from_json(saved: Any) -> Tokenizer:
  """A tokenizer from what `save` wrote."""
  if saved["kind"] == "bytes":
    return ByteTokenizer()
  if saved["kind"] == "bpe":
    # Imported here, for bpe.py imports this file.
    from attnjax.data.bpe import BpeTokenizer

    return BpeTokenizer(json.dumps(saved["model"]))
  raise ValueError(f"kind {saved['kind']!r} is neither 'bytes' nor 'bpe'")


def write_tokenizer(directory: str | Path, content: dict[str, Any]) -> None:
  """Writes a tokenizer's JSON into a directory, which is made."""
  folder = Path(directory)
  folder.mkdir(parents=True, exist_ok=True)
  (folder / _FILE).write_text(json.dumps(content, indent=1) + "\n")


def check_ids(ids: np.ndarray, vocabulary_size: int) -> None:
  """Refuses ids outside of [0, vocabulary_size)."""
  if ids.size and not 0 <= ids.min() <= ids.max() < vocabulary_size:
    raise ValueError(
      f"ids: expected integers in [0, {vocabulary_size}), got"
      f" {ids.min()}..{ids.max()}; were they made by another tokenizer?"
    )
