"""Text data from a config: loaded, split, tokenized and packed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from absl import logging

from attnjax.config import Config, setting
from attnjax.data.bpe import train_bpe
from attnjax.data.corpora import CORPORA, Document, check_path, load
from attnjax.data.packing import Packed, pack
from attnjax.data.split import QUOTATION, shared_lines, split
from attnjax.data.tokenizers import ByteTokenizer, Tokenizer

__all__ = [
  "TextConfig",
  "TextData",
  "load_text",
]


@dataclass(frozen=True)
class TextConfig(Config):
  """Which text to model, its tokenizer, rows and batches.

  >>> TextConfig(corpus="python").tokenizer
  'bytes'
  """

  # Corpus and path do not identify a run: the digest of the text does.
  corpus: str = setting(
    "english",
    "text that every machine has: english is Python's help topics (0.5 MB),"
    " python is its standard library (12 MB)",
    choices=tuple(CORPORA),
    decides=False,
  )
  path: str | None = setting(
    None,
    "your own text, instead of the corpus: a file, a directory or a glob",
    decides=False,
    path=True,
  )
  tokenizer: str = setting(
    "bytes",
    "bytes: a token is a byte; bpe: byte pairs learned on the training text",
    choices=("bytes", "bpe"),
  )
  vocabulary: int = setting(
    4096,
    "largest vocabulary for bpe, tokens (bytes always has 257)",
    at_least=257,
  )
  length: int = setting(256, "tokens in a row, T", at_least=1)
  batch_size: int = setting(32, "rows in a batch, B", at_least=1)
  heldout_fraction: float = setting(
    0.1,
    "about which part of the bytes is held out, in (0, 1)",
    above=0,
    below=1,
  )
  seed: int = setting(
    0, "seed of the order of the rows, in [0, 2**32)", at_least=0, below=2**32
  )
  evaluation_stride: float | None = setting(
    None,
    "step between held-out rows as a fraction of length, in (0, 1]: 0.5 lets"
    " each token see half a row or more; None is no overlap",
    above=0,
    at_most=1,
  )

  def check(self) -> None:
    """Raises ValueError where `path` stands for no file of this machine."""
    if self.path is not None:
      check_path(self.path)


@dataclass(frozen=True, eq=False)
class TextData:
  """Training and held-out rows of a text; made by `load_text`.

  Args:
    train: the training documents.
    heldout: the held-out documents; none of them is in `train`.
    tokenizer: of both texts.
    packed_train: the training rows.
    packed_heldout: the held-out rows. They may overlap in their tokens; each
      target has weight 1 in one row alone.
    digest: hash of text, split, tokenizer and rows: the same digest, the same
      rows.

  >>> data = load_text(TextConfig(length=64))
  >>> {document.name for document in data.train} & {
  ...   document.name for document in data.heldout
  ... }
  set()
  """

  train: tuple[Document, ...]
  heldout: tuple[Document, ...]
  tokenizer: Tokenizer
  packed_train: Packed
  packed_heldout: Packed
  digest: str

  @property
  def train_bytes(self) -> int:
    """Bytes of training text."""
    return _size(self.train)

  @property
  def heldout_bytes(self) -> int:
    """Bytes of held-out text: what bits per byte are measured over."""
    return _size(self.heldout)

  @property
  def train_tokens(self) -> int:
    """Training tokens, boundaries not counted."""
    return self.packed_train.token_count

  @property
  def heldout_tokens(self) -> int:
    """Held-out tokens, boundaries not counted: the sum of their weights."""
    return self.packed_heldout.token_count


def load_text(
  config: TextConfig, tokenizer: Tokenizer | None = None
) -> TextData:
  """Loads, splits, tokenizes and packs a text.

  A tokenizer that learns does so on the training documents alone.

  Args:
    config: which text, and how.
    tokenizer: in place of the one that the config names.

  Returns:
    Documents, tokenizer and rows of both sides, with their digest.

  Raises:
    ValueError: a setting is out of its range, the text cannot be found or
      read, or a side of it is shorter than one row.
    ImportError: `tokenizer="bpe"` without the `tokenizers` library.

  >>> data = load_text(TextConfig(length=64))
  >>> data.heldout_bytes == data.heldout_tokens  # a byte is a token
  True
  """
  # Only held-out rows overlap: in training each token should count once.
  stride = _stride(config)
  train, heldout = split(
    load(config.corpus, config.path), config.heldout_fraction
  )
  _warn_of_quotations(train, heldout)
  if tokenizer is None:
    tokenizer = _tokenizer(config, train)
  packed_train = _pack(train, "training", tokenizer, config.length, None)
  packed_heldout = _pack(heldout, "held-out", tokenizer, config.length, stride)
  digest = hashlib.sha256(
    repr((tokenizer.digest, config.length, stride)).encode()
  )

  for documents in (train, heldout):
    # Part by part: a document that moves to the other one changes the digest.
    texts = [hashlib.sha256(document.text).digest() for document in documents]
    digest.update(hashlib.sha256(b"".join(texts)).digest())

  return TextData(
    tuple(train),
    tuple(heldout),
    tokenizer,
    packed_train,
    packed_heldout,
    digest.hexdigest(),
  )


def _pack(
  documents: Sequence[Document],
  part: str,
  tokenizer: Tokenizer,
  length: int,
  stride: int | None,
) -> Packed:
  """Packs the training or the held-out documents; errors say which."""
  ids = (tokenizer.encode(document.text) for document in documents)
  try:
    return pack(ids, tokenizer.boundary, length, stride)
  except ValueError as error:
    raise ValueError(
      f"the {part} text ({len(documents)} documents, {_size(documents)} bytes)"
      f" cannot be packed: {error}"
    ) from error


def _warn_of_quotations(
  train: Sequence[Document], heldout: Sequence[Document]
) -> None:
  """Warns where much of a held-out document occurs in other documents."""
  # Held-out documents come first, so that their shares are the first.
  shares = shared_lines([*heldout, *train])[: len(heldout)]
  quoting = [
    document.name
    for document, share in zip(heldout, shares, strict=True)
    if share > QUOTATION
  ]

  if quoting:
    logging.warning(
      "%d of %d held-out documents share more than %.0f%% of their lines with"
      " other documents, %r for one: bits per byte will flatter the model",
      len(quoting),
      len(heldout),
      100 * QUOTATION,
      quoting[0],
    )


def _tokenizer(config: TextConfig, train: Sequence[Document]) -> Tokenizer:
  """The tokenizer that the config asks for."""
  if config.tokenizer == "bytes":
    return ByteTokenizer()
  return train_bpe((document.text for document in train), config.vocabulary)


def _stride(config: TextConfig) -> int | None:
  """The step between held-out rows, tokens."""
  fraction = config.evaluation_stride
  if fraction is None:
    return None
  # A small fraction of a short row may round to 0, which would never advance.
  return max(1, round(fraction * config.length))


def _size(documents: Sequence[Document]) -> int:
  """Bytes in some documents."""
  return sum(len(document.text) for document in documents)
