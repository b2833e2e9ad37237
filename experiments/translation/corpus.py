"""Verses as pieces of words: learned on the training side, cut, in buckets."""

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

__all__ = ["Corpus", "Pieces", "Side", "load"]


@dataclass(frozen=True)
class Pieces:
  """A language in pieces; a piece is named by its number in the tokenizer.

  >>> from attnjax.data import train_bpe
  >>> pieces = Pieces(train_bpe([b" so be it" * 9], 300))
  >>> pieces.join(pieces.vocabulary.encode(pieces.split("so be it, ñandú")))
  'so be it, ñandú'
  """

  tokenizer: BpeTokenizer

  @functools.cached_property
  def vocabulary(self) -> Vocabulary:
    """Every piece and the three special symbols."""
    # Numbers, for a piece could be spelled like a special symbol.
    return Vocabulary(tuple(map(str, range(self.tokenizer.boundary))))

  def split(self, text: str) -> list[str]:
    """The pieces of a text; ValueError where there is nothing in it."""
    if not text.strip():
      raise ValueError(f"text={text!r}: there is nothing to translate")
    # The space in front makes a first word the same piece as any other.
    padded = f" {text.strip()}".encode("utf-8", "surrogateescape")
    ids = self.tokenizer.encode(padded)
    return [str(number) for number in ids]

  def join(self, ids: Iterable[SupportsIndex]) -> str:
    """The text of the ids of the vocabulary, up to the end."""
    pieces = [int(piece) for piece in self.vocabulary.decode(ids)]
    text = self.tokenizer.decode(np.array(pieces, np.int32))
    return text.decode("utf-8", "replace").strip()

  def spelled(self, ids: Iterable[SupportsIndex]) -> list[str]:
    """Each id as text, without the space in front; the end as such."""
    return [
      "</s>" if i.__index__() == END else self.join([i]) or "␣" for i in ids
    ]


class Side(NamedTuple):
  """The verses of one side that are short enough, by bucket.

  `texts` and `lengths` are in the order of the rows of one bucket after the
  other.
  """

  buckets: list[Examples]
  texts: list[tuple[str, str]]
  lengths: list[int]  # pieces of each source
  total: int  # verses of the side, the longer ones too


class Corpus(NamedTuple):
  """Both languages and the three sides."""

  source: Pieces
  target: Pieces
  sides: dict[str, Side]
  digest: str


def load(
  config: TranslationConfig, verses: Sequence[VersePair] | None = None
) -> Corpus:
  """The verses of a config; None: those of the two Bibles.

  Raises:
    AssetError: a Bible cannot be had.
    ValueError: a side has no verse that is short enough.
  """
  sides = split_verses(load_verses() if verses is None else verses)
  texts = {
    name: [_texts(config, v) for v in side] for name, side in sides.items()
  }
  columns = zip(*texts["train"], strict=True)
  source, target = (_learned(column, config) for column in columns)

  return Corpus(
    source,
    target,
    {name: _side(config, source, target, name, t) for name, t in texts.items()},
    f"{zlib.crc32(repr(texts).encode()):08x}",
  )


def _texts(config: TranslationConfig, verse: VersePair) -> tuple[str, str]:
  """Source and target of a verse."""
  both = verse.english, verse.spanish
  return both if config.source == "english" else both[::-1]


def _learned(texts: Iterable[str], config: TranslationConfig) -> Pieces:
  """The pieces of a language, learned from texts."""
  return Pieces(train_bpe((f" {t}".encode() for t in texts), config.vocabulary))


def _side(
  config: TranslationConfig,
  source: Pieces,
  target: Pieces,
  name: str,
  texts: list[tuple[str, str]],
) -> Side:
  """The verses that a bucket holds, encoded."""
  rows: dict[int, list] = {length: [] for length in config.buckets}
  for heard, said in texts:
    pieces = source.split(heard), target.split(said)
    needed = max(len(pieces[0]), len(pieces[1]) + 1)  # the end is one more
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

  return Side(
    encoded,
    [pair for pair, _ in kept],
    [len(heard) for _, (heard, _) in kept],
    len(texts),
  )
