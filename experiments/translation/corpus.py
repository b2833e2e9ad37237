"""Parallel verses as subword ids: BPE of the train split, length buckets."""

import functools
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, SupportsIndex

import numpy as np

from attnjax.data import (
  BpeTokenizer,
  Examples,
  VersePair,
  Vocabulary,
  encode_pairs,
  load_verses,
  split_verses,
  train_bpe,
)
from attnjax.data.vocabulary import END
from experiments.translation.config import TranslationConfig

__all__ = ["Corpus", "Pieces", "Split", "load"]


@dataclass(frozen=True)
class Pieces:
  """Subword tokenizer and vocabulary of one language.

  >>> from attnjax.data import train_bpe
  >>> pieces = Pieces(train_bpe([b" so be it" * 9], 300))
  >>> pieces.join(pieces.vocabulary.encode(pieces.split("so be it, ñandú")))
  'so be it, ñandú'
  """

  tokenizer: BpeTokenizer

  @functools.cached_property
  def vocabulary(self) -> Vocabulary:
    """Vocabulary of every piece and the three special symbols."""
    # Pieces go by their numbers: one could be spelled like a special symbol.
    return Vocabulary(tuple(map(str, range(self.tokenizer.boundary))))

  def split(self, text: str) -> list[str]:
    """Splits a text into pieces, each named by its number in the tokenizer.

    Raises:
      ValueError: the text is empty or white.
    """
    if not text.strip():
      raise ValueError(f"text={text!r}: there is nothing to translate")
    # With a space in front the first word is the same piece as inside a text.
    padded = f" {text.strip()}".encode("utf-8", "surrogateescape")
    ids = self.tokenizer.encode(padded)
    return [str(number) for number in ids]

  def join(self, ids: Iterable[SupportsIndex]) -> str:
    """Decodes ids of the vocabulary, up to the end, to text."""
    pieces = [int(piece) for piece in self.vocabulary.decode(ids)]
    text = self.tokenizer.decode(np.array(pieces, np.int32))
    return text.decode("utf-8", "replace").strip()

  def spelled(self, ids: Iterable[SupportsIndex]) -> list[str]:
    """Label of each id for a figure: its text, `</s>` or `␣`."""
    return [
      "</s>" if i.__index__() == END else self.join([i]) or "␣" for i in ids
    ]


class Split(NamedTuple):
  """Encoded verses of one split, those that fit a bucket.

  `texts` and `lengths` are in the order of the rows of all buckets, one bucket
  after the other.
  """

  buckets: list[Examples]
  texts: list[tuple[str, str]]  # source, target
  lengths: list[int]  # pieces of each source
  total: int  # verses of the split, the longer ones too


class Corpus(NamedTuple):
  """Tokenizers of both languages, and the train, validation and test splits."""

  source: Pieces
  target: Pieces
  splits: dict[str, Split]
  digest: str  # of the texts


def load(
  config: TranslationConfig, verses: Sequence[VersePair] | None = None
) -> Corpus:
  """Splits and encodes verses; None: those of the two Bibles.

  Raises:
    AssetError: a Bible cannot be fetched.
    ValueError: a split has no verse that is short enough.
  """
  splits = split_verses(load_verses() if verses is None else verses)
  from_english = config.source == "english"
  texts = {
    name: [
      (v.english, v.spanish) if from_english else (v.spanish, v.english)
      for v in split
    ]
    for name, split in splits.items()
  }
  # Pieces are learned on the train split: no held-out word shapes them.
  columns = zip(*texts["train"], strict=True)
  source, target = (_learned(column, config) for column in columns)

  return Corpus(
    source,
    target,
    {
      name: _encoded(config, source, target, name, t)
      for name, t in texts.items()
    },
    f"{zlib.crc32(repr(texts).encode()):08x}",
  )


def _learned(texts: Iterable[str], config: TranslationConfig) -> Pieces:
  """Trains the BPE of one language."""
  return Pieces(train_bpe((f" {t}".encode() for t in texts), config.vocabulary))


def _encoded(
  config: TranslationConfig,
  source: Pieces,
  target: Pieces,
  name: str,
  texts: list[tuple[str, str]],
) -> Split:
  """Encodes the verses that fit a bucket, each in the first that holds it."""
  rows: dict[int, list] = {length: [] for length in config.buckets}
  for heard, said in texts:
    pieces = source.split(heard), target.split(said)
    # The target has its end as one more piece.
    needed = max(len(pieces[0]), len(pieces[1]) + 1)
    for length in config.buckets:
      if needed <= length:
        rows[length].append(((heard, said), pieces))
        break

  if not any(rows.values()):
    raise ValueError(
      f"buckets={config.buckets}: none of the {len(texts)} verses of {name} is"
      " as short as that; give longer ones or more pieces (vocabulary)"
    )

  encoded = [
    Examples(
      encode_pairs(
        [pieces for _, pieces in held],
        source.vocabulary,
        target.vocabulary,
        source_length=length,
        target_length=length,
      )
    )
    for length, held in rows.items()
    if held
  ]
  kept = [row for held in rows.values() for row in held]

  return Split(
    encoded,
    [pair for pair, _ in kept],
    [len(heard) for _, (heard, _) in kept],
    len(texts),
  )
