"""A toy grammar with adjective-noun pairs that are held out of training."""

import zlib

import numpy as np

from experiments.fluffy_creature.sentences import Sentence

__all__ = ["SENTENCE", "WORDS", "joined_in_training", "sentences"]

_WORDS = {
  "adjective": """
    fluffy blue verdant tiny ancient crimson gentle hollow icy jagged kind lazy
    mossy narrow old pale quiet rusty silver tall urban vivid warm young zesty
    bright clumsy dusty eager famous golden humble
  """,
  "noun": """
    creature forest river tower garden dragon village castle valley horse island
    lantern meadow mirror mountain orchard palace pirate robot sailor shadow
    spider stranger temple thief tunnel turtle violin whale window wizard wolf
  """,
  "verb": """
    roamed crossed feared painted found left watched guarded loved forgot
    reached entered
  """,
  "determiner": "a the this that every",
  "adverb": "slowly often suddenly never",
}
WORDS = {kind: tuple(text.split()) for kind, text in _WORDS.items()}

# An example of two described nouns, for tables and figures.
SENTENCE = Sentence(
  ("a", "fluffy", "blue", "creature", "roamed", "the", "verdant", "forest"),
  {3: (1, 2), 7: (6,)},
)


def joined_in_training(adjective: str, noun: str) -> bool:
  """Whether a pair is a training pair: three in four, by hash."""
  # CRC-32, not `hash`, which differs from one process to the next.
  return zlib.crc32(f"{adjective} {noun}".encode()) % 4 != 0


def sentences(count: int, *, seed: int, unseen: bool) -> list[Sentence]:
  """Sentences of two noun phrases around a verb.

      [adverb] noun phrase  verb  noun phrase  [adverb]
      noun phrase = determiner, 0 to 3 adjectives, noun

  Args:
    count: how many.
    seed: of the draws.
    unseen: False: no adjective with a noun of the held-out pairs; True: every
      adjective makes a held-out pair with its noun.
  """
  draws = np.random.default_rng(seed)
  return [_sentence(draws, unseen) for _ in range(count)]


def _sentence(draws: np.random.Generator, unseen: bool) -> Sentence:
  """Draws one sentence of the grammar."""
  pick = lambda kind: WORDS[kind][draws.integers(len(WORDS[kind]))]
  words: list[str] = []
  nouns: dict[int, tuple[int, ...]] = {}
  if draws.random() < 0.25:
    words.append(pick("adverb"))

  for phrase in range(2):
    if phrase:
      words.append(pick("verb"))
    noun = pick("noun")
    words.append(pick("determiner"))
    first = len(words)
    words += _described(draws, noun, unseen)
    nouns[len(words)] = tuple(range(first, len(words)))
    words.append(noun)

  if draws.random() < 0.25:
    words.append(pick("adverb"))

  return Sentence(tuple(words), nouns)


def _described(
  draws: np.random.Generator, noun: str, unseen: bool
) -> list[str]:
  """Draws 0 to 3 different adjectives whose pair with a noun is allowed."""
  fit = [a for a in WORDS["adjective"] if joined_in_training(a, noun) != unseen]
  count = min(int(draws.integers(4)), len(fit))
  return [str(a) for a in draws.choice(fit, count, replace=False)]
