"""The grapheme-to-phoneme task: splits, length-sorted batches, model, loss."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax import training
from attnjax.data import (
  GRAPHEMES,
  Examples,
  Word,
  encode_pairs,
  load_pronunciations,
  phoneme_vocabulary,
  split_words,
  train_batches,
)
from attnjax.models import Seq2Seq
from experiments.pronunciation.config import DataConfig, PronunciationConfig

__all__ = ["PHONEMES", "Batches", "Data", "load", "loss", "make"]

PHONEMES = phoneme_vocabulary()
_POOL = 32  # batches whose rows are sorted by length together


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
  """Disjoint train, validation and test splits of a dictionary."""

  train: Examples
  validation: Examples
  test: Sequence[Word]
  splits: Mapping[str, str]  # spelling -> its split, of the whole dictionary

  @functools.cached_property
  def digest(self) -> str:
    """SHA-256 of the arrays to train and to validate on."""
    arrays = [*self.train.arrays.values(), *self.validation.arrays.values()]
    return hashlib.sha256(b"".join(x.tobytes() for x in arrays)).hexdigest()


def load(config: DataConfig) -> Data:
  """Loads a dictionary and splits it by a hash of the spelling.

  Words to train and to validate on have `max_letters` at most, those to test
  on any number. Each pronunciation of a word is an example of its own.

  Raises:
    ValueError: a split has no word.
    AssetError: the dictionary cannot be fetched.
  """
  path = None if config.dictionary is None else Path(config.dictionary)
  splits = split_words(load_pronunciations(path))
  short = {
    name: [w for w in words if len(w.spelling) <= config.max_letters]
    for name, words in splits.items()
  }
  kept = {
    "train": _some(short["train"], config.train_words),
    "validation": _some(short["validation"], config.validation_words),
    # Longer words than those to train on are part of the test.
    "test": _some(splits["test"], config.test_words),
  }

  for name, words in kept.items():
    if not words:
      raise ValueError(
        f"data: no word of {config.max_letters} letters or fewer is on the"
        f" {name} split; raise data.max_letters or take a larger dictionary"
      )

  return Data(
    _examples(kept["train"], config.multiple),
    _examples(kept["validation"], config.multiple),
    kept["test"],
    {w.spelling: name for name, words in splits.items() for w in words},
  )


def _some(words: Sequence[Word], count: int | None) -> list[Word]:
  """A random sample of `count` words in dictionary order; None: all."""
  # A fixed seed: all runs and variants see the same words.
  order = np.random.default_rng(0).permutation(len(words))
  return [words[place] for place in sorted(order[:count])]


def _examples(words: Sequence[Word], multiple: int) -> Examples:
  """Encodes every pronunciation of some words, padded to one width."""
  pairs = [pair for word in words for pair in word.pairs()]
  # One more phoneme: the end of the sequence is predicted too.
  longest = max(max(len(letters), len(said) + 1) for letters, said in pairs)
  width = -(-longest // multiple) * multiple
  arrays = encode_pairs(
    pairs, GRAPHEMES, PHONEMES, source_length=width, target_length=width
  )
  return Examples(arrays)


def loss(model: Seq2Seq, batch: Mapping, key):
  """Summed cross-entropy in nats, its weight, and phonemes right."""
  logits = model(
    batch["source"],
    batch["inputs"],
    source_lengths=batch["source_lengths"],
    dropout_key=key,
  )
  right = jnp.argmax(logits, -1) == batch["targets"]
  nats, count = training.cross_entropy(
    logits, batch["targets"], batch["weights"]
  )

  return nats, count, {"accuracy": jnp.where(right, batch["weights"], 0).sum()}


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
  """Batches of words of similar length: `batches(step)`, without end.

  Rows are drawn for a pool of several batches, sorted by length, cut into
  batches and these shuffled, which leaves little padding.
  """

  examples: Examples
  config: DataConfig
  seed: int

  def __call__(self, step: int) -> dict[str, np.ndarray]:
    """The batch of one step, cut to the smallest width that holds it."""
    number, place = divmod(step, _POOL)
    batch = self._pool(number)[place]
    lengths = np.maximum(batch["source_lengths"], batch["target_lengths"])
    multiple = self.config.multiple
    width = -(-int(lengths.max()) // multiple) * multiple
    return {
      name: x[:, :width] if x.ndim > 1 else x for name, x in batch.items()
    }

  @functools.cached_property
  def _pool(self) -> Callable[[int], list[dict[str, np.ndarray]]]:
    """Pool number -> its batches; the last pool is cached."""
    size = self.config.batch_size
    draw = train_batches(self.examples, _POOL * size, self.seed)

    # One is enough: steps come in order, and a pool serves 32 of them.
    @functools.lru_cache(maxsize=1)
    def pool(number: int) -> list[dict[str, np.ndarray]]:
      rows = draw(number)
      # By the longer of both: letters and phonemes are cut to one width.
      lengths = np.maximum(rows["source_lengths"], rows["target_lengths"])
      # Each row of `order` is a batch; permuting shuffles batches, not words.
      order = np.argsort(lengths, kind="stable").reshape(_POOL, size)
      order = np.random.default_rng((self.seed, number)).permutation(order)
      return [{name: x[part] for name, x in rows.items()} for part in order]

    return pool


def make(config: PronunciationConfig, variant: str, seed: int) -> Seq2Seq:
  """A new model with the attention of a variant."""
  options = dataclasses.replace(config.model, attention=variant)
  make_one = lambda: Seq2Seq(
    options, len(GRAPHEMES), len(PHONEMES), rngs=nnx.Rngs(seed)
  )
  return jax.jit(make_one)()
