"""Byte-level byte pair encoding, trained on the training documents.

The vocabulary is learned by the `tokenizers` library and saved as its JSON,
which gives the same ids on every machine.
"""

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Int, Int32

from attnjax.data.tokenizers import check_ids, write_tokenizer
from attnjax.extras import needs_extra

__all__ = [
  "BpeTokenizer",
  "train_bpe",
]


# Characters encoded at once: the library takes tens of bytes a token.
_PIECE = 1 << 20
# Characters in a word; the time to learn grows with the square of the longest.
_LONGEST = 128
# Words as in GPT-2. ByteLevel has the same pattern, without a limit of length.
_WORDS = (
  r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
  r"|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class BpeTokenizer:
  r"""Byte-level byte pair encoding: frequent strings of bytes are one token.

  Lossless for any bytes: a byte that is not valid UTF-8 is encoded by the
  token of that single byte, which every vocabulary has. The last id is the
  boundary; it is no string of the vocabulary, so no text can forge it.

  Args:
    model: the trained tokenizer as the `tokenizers` library writes it, JSON.
      Use `train_bpe` or `load_tokenizer` to get one.

  Raises:
    ImportError: the `tokenizers` library is missing.

  Reference: Rico Sennrich, Barry Haddow and Alexandra Birch, "Neural Machine
  Translation of Rare Words with Subword Units", 2016, arXiv:1508.07909.

  >>> tokenizer = train_bpe([b"low lower lowest " * 9], vocabulary_size=264)
  >>> [tokenizer.token_bytes(token) for token in tokenizer.encode(b"low\xff")]
  [b'low', b'\xff']
  >>> tokenizer.token_bytes(tokenizer.boundary)
  b''
  """

  model: str

  @functools.cached_property
  def _engine(self) -> Any:
    """The `Tokenizer` object of the library."""
    return _library().Tokenizer.from_str(self.model)

  @functools.cached_property
  def _strings(self) -> list[bytes]:
    """The bytes of every id but the boundary."""
    engine = self._engine
    values = {character: byte for byte, character in _alphabet().items()}
    return [
      bytes(values[character] for character in engine.id_to_token(token))
      for token in range(engine.get_vocab_size())
    ]

  @functools.cached_property
  def _byte_ids(self) -> dict[int, int]:
    """The token of each single byte."""
    strings = enumerate(self._strings)
    return {text[0]: token for token, text in strings if len(text) == 1}

  @property
  def vocabulary_size(self) -> int:
    """The strings of the vocabulary and the boundary."""
    return len(self._strings) + 1

  @property
  def boundary(self) -> int:
    """The last id: opens a document."""
    return len(self._strings)

  @functools.cached_property
  def digest(self) -> str:
    """A hash of the trained vocabulary and merges."""
    return "bpe-" + hashlib.sha256(self.model.encode()).hexdigest()

  def encode(self, text: bytes) -> Int32[np.ndarray, "T"]:
    """The ids of a text, valid UTF-8 or not."""
    pieces = [
      np.asarray(self._encode_piece(piece), np.int32)
      for piece in _pieces(text.decode("utf-8", "surrogateescape"))
    ]
    # The empty array gives a text without pieces its dtype.
    return np.concatenate([np.zeros(0, np.int32), *pieces])

  def _encode_piece(self, piece: str) -> list[int]:
    """The ids of valid text, or of a run of bytes that are not UTF-8."""
    # surrogateescape maps the bytes that are no UTF-8 to these.
    if "\udc80" <= piece[0] <= "\udcff":
      return [self._byte_ids[ord(character) - 0xDC00] for character in piece]
    return self._engine.encode(piece, add_special_tokens=False).ids

  def decode(self, ids: Int[np.ndarray, "T"]) -> bytes:
    """The text of some ids; ValueError for an id outside the vocabulary."""
    ids = np.asarray(ids)
    check_ids(ids, self.vocabulary_size)
    strings = self._strings
    return b"".join(strings[token] for token in ids[ids != self.boundary])

  def token_bytes(self, token: SupportsIndex) -> bytes:
    """The bytes of one id; none for the boundary."""
    return self.decode(np.array([token.__index__()]))

  def save(self, directory: str | Path) -> None:
    """Writes `tokenizer.json` into the directory, which is made."""
    model = json.loads(self.model)
    content = {"kind": "bpe", "digest": self.digest, "model": model}
    write_tokenizer(directory, content)


def train_bpe(texts: Iterable[bytes], vocabulary_size: int) -> BpeTokenizer:
  """Learns a byte-level BPE vocabulary; the same texts give the same one.

  Words are split as in GPT-2 before pairs are merged, so that no token spans
  two words; one of more than 128 characters, as a text without spaces is, is
  cut in pieces of 128, for the time to learn grows with their square.

  Args:
    texts: the training texts, and no held-out one.
    vocabulary_size: how many ids to have at most, the boundary included; at
      least 257. Fewer come out where the texts have no more pairs to merge.

  Returns:
    The tokenizer.

  Raises:
    ValueError: the vocabulary is too small to hold every byte.
    ImportError: the `tokenizers` library is missing.

  >>> train_bpe([b"aa ab"], vocabulary_size=257).vocabulary_size
  257
  """
  if vocabulary_size < 257:
    raise ValueError(
      f"vocabulary_size: expected at least 257 (256 bytes and the boundary),"
      f" got {vocabulary_size}."
    )

  library = _library()
  engine = library.Tokenizer(library.models.BPE())
  engine.pre_tokenizer = _pre_tokenizer(library)
  trainer = library.trainers.BpeTrainer(
    # The boundary is the one id that the library does not know.
    vocab_size=vocabulary_size - 1,
    # Every byte has a token, also one that no training text has.
    initial_alphabet=sorted(_alphabet().values()),
    show_progress=False,
  )
  # Bytes that are no UTF-8 are not learned from; encoding them still works.
  valid = (text.decode("utf-8", "ignore") for text in texts)
  engine.train_from_iterator(valid, trainer)

  # Python's writing of the JSON, so that a save and a load change nothing.
  return BpeTokenizer(json.dumps(json.loads(engine.to_str())))


def _pre_tokenizer(library: Any) -> Any:
  """Splits into words as in GPT-2, of 128 characters at most, then bytes."""
  parts = library.pre_tokenizers
  words = parts.Split(library.Regex(_WORDS), behavior="isolated")
  pieces = parts.FixedLength(length=_LONGEST)
  # No space before the text: decoding must give back the same bytes.
  letters = parts.ByteLevel(add_prefix_space=False, use_regex=False)
  return parts.Sequence([words, pieces, letters])


def _pieces(text: str) -> Iterator[str]:
  """Runs of valid text and of escaped bytes, none longer than `_PIECE`."""
  for run in re.findall("[\udc80-\udcff]+|[^\udc80-\udcff]+", text):
    for start in range(0, len(run), _PIECE):
      yield run[start : start + _PIECE]


@functools.cache
def _alphabet() -> dict[int, str]:
  """The printable character that byte-level BPE writes for each byte."""
  # As in GPT-2: printable bytes of Latin-1 stand for themselves, and the other
  # 68 get characters from 256 on.
  plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
  others = (byte for byte in range(256) if byte not in set(plain))
  return {byte: chr(byte) for byte in plain} | {
    byte: chr(256 + n) for n, byte in enumerate(others)
  }


def _library() -> Any:
  """The `tokenizers` library, imported when it is needed."""
  with needs_extra("bpe", "BPE needs the tokenizers library"):
    import tokenizers
    import tokenizers.models
    import tokenizers.pre_tokenizers
    import tokenizers.trainers

  return tokenizers
