"""Train and held-out sentences: of a grammar, or of the Brown corpus."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

from attnjax.data import Examples
from attnjax.data.tagged import (
  TaggedSentence,
  adjective_noun_events,
  load_brown,
  split_sentences,
)
from experiments.fluffy_creature import grammar
from experiments.fluffy_creature.config import FluffyCreatureConfig
from experiments.fluffy_creature.sentences import Sentence, Vocabulary, encode

__all__ = ["Corpus", "described", "load"]


class Corpus(NamedTuple):
  """Encoded train and held-out splits, and sentences for the figures."""

  vocabulary: Vocabulary
  train: Examples
  heldout: Examples
  shown: Sentence
  pairs: list[tuple[str, str, int]]  # two sentences, and the word they share
  digest: str


def load(config: FluffyCreatureConfig) -> Corpus:
  """Loads or generates the corpus that a config names.

  Raises:
    AssetError: the tagged corpus cannot be fetched.
  """
  if config.corpus == "brown":
    splits = split_sentences(load_brown())
    train, heldout = described(splits["train"]), described(splits["test"])
    heldout = heldout[: config.heldout]
    pairs = [("the white house", "the open house", 2)]
    vocabulary = Vocabulary.of(train, config.least)
    shown = _to_show(heldout, vocabulary)
  else:
    train = grammar.sentences(config.sentences, seed=1, unseen=False)
    heldout = grammar.sentences(config.heldout, seed=2, unseen=True)
    shown = grammar.SENTENCE
    # It may have words that no training sentence has drawn.
    vocabulary = Vocabulary.of([*train, shown], config.least)
    pairs = [
      ("a fluffy blue creature roamed", "a rusty old creature roamed", 3),
      ("the quiet verdant forest", "the famous icy forest", 3),
    ]

  return Corpus(
    vocabulary,
    encode(_repeated(train, config.repeats), vocabulary, config.length),
    encode(heldout, vocabulary, config.length),
    shown,
    pairs,
    f"{zlib.crc32(repr((train, heldout)).encode()):08x}",
  )


def described(sentences: Sequence[TaggedSentence]) -> list[Sentence]:
  """Lowercases tagged sentences; maps nouns to the adjectives before them."""
  found = []
  for sentence, events in zip(
    sentences, adjective_noun_events(sentences), strict=True
  ):
    # Tags of nouns begin with nn; those without an adjective get none.
    nouns: dict[int, tuple[int, ...]] = {
      n: () for n, (_, tag) in enumerate(sentence.tokens) if tag[:2] == "nn"
    }
    words = tuple(word.lower() for word in sentence.words)
    found.append(Sentence(words, nouns | dict(events)))

  return found


def _repeated(sentences: list[Sentence], times: int) -> list[Sentence]:
  """Oversamples sentences in which a noun has two adjectives or more."""
  several = [
    one for one in sentences if max(map(len, one.nouns.values()), default=0) > 1
  ]
  return sentences + several * (times - 1)


def _to_show(sentences: list[Sentence], vocabulary: Vocabulary) -> Sentence:
  """A sentence for the figure: short, known words, two described nouns.

  One of the nouns has two adjectives. Where there is none, the first sentence.
  """
  known, adjectives = set(vocabulary.words), set(vocabulary.adjectives)
  for sentence in sentences:
    counts = sorted(map(len, sentence.nouns.values()))
    places = [p for run in sentence.nouns.values() for p in run]
    if (
      len(sentence.words) <= 14
      and counts[-2:] == [1, 2]
      and known.issuperset(sentence.words)
      and adjectives.issuperset(sentence.words[p] for p in places)
    ):
      return sentence

  return sentences[0]
