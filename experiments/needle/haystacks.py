"""Rows of a needle in a haystack: a key and a value of four digits, told once.

Words are numbers: first those of the haystack, then keys, then ten digits.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from attnjax import training
from attnjax.config import Config, setting
from attnjax.models import MemoryLM

__all__ = ["DIGITS", "KINDS", "HaystackConfig", "Needles", "loss", "rows_of"]

# "repeated": one sentence again and again; "words": drawn words;
# "distractors": drawn words, and needles of other keys.
KINDS = ("repeated", "words", "distractors")
DIGITS = 4  # of a value
_NEEDLE = 1 + DIGITS
_SENTENCE = 8  # words


@dataclasses.dataclass(frozen=True)
class HaystackConfig(Config):
  """Rows to train on, a third of each kind."""

  words: int = setting(64, "words of a haystack", at_least=1)
  keys: int = setting(64, "words that may be keys", at_least=1)
  distractors: int = setting(3, "needles of other keys", at_least=0)
  length: int = setting(256, "tokens of a row, T", at_least=1)
  batch_size: int = setting(12, "rows in a batch, B", at_least=1)

  def __post_init__(self):
    super().__post_init__()
    if self.distractors >= self.keys:
      raise ValueError(
        f"task: distractors must be fewer than keys={self.keys}, got"
        f" {self.distractors}"
      )
    if self.length < self.least:
      raise ValueError(
        f"task: length must be at least the {self.least} tokens of a question"
        f" and {1 + self.distractors} needles, got {self.length}"
      )
    if self.batch_size % len(KINDS):
      raise ValueError(
        f"task: batch_size must be a multiple of {len(KINDS)} kinds, got"
        f" {self.batch_size}"
      )

  @property
  def least(self) -> int:
    """Tokens of the shortest row."""
    return DIGITS + _NEEDLE * (1 + self.distractors)

  @property
  def vocabulary(self) -> int:
    """Number of words: of haystacks, keys and digits."""
    return self.words + self.keys + 10


def rows_of(
  task: HaystackConfig, draws, kinds: Sequence[str], length: int
) -> dict[str, np.ndarray]:
  """Rows of some kinds, of a length that may be another than that of training.

  A row ends with the key and all digits but the last: each of these is asked
  for the next. Who names all four so names them when it reads its own answers.

  Args:
    task: sizes.
    draws: a numpy generator.
    kinds: of `KINDS`, one a row.
    length: T.

  Returns:
    ``tokens``, ``B T``, and ``targets``, ``B 4``.

  >>> import numpy as np
  >>> task = HaystackConfig(words=2, keys=3, distractors=0)
  >>> row = rows_of(task, np.random.default_rng(0), ["words"], 20)
  >>> said = [*row["tokens"][0].tolist(), int(row["targets"][0, -1])]
  >>> needle = said[-5:]  # the key and its value, as they were told
  >>> any(said[n : n + 5] == needle for n in range(11))
  True

  Reference:
    Hsieh et al., "RULER: What's the Real Context Size of Your Long-Context
    Language Models?", 2024, arXiv 2404.06654: single needles, and many keys.
  """
  count, row = len(kinds), np.arange(len(kinds))[:, None]
  kind = np.array(kinds)
  words = draws.integers(task.words, size=(count, length), dtype=np.int32)
  repeated = words[:, np.arange(length) % min(_SENTENCE, length)]
  tokens = np.where((kind == "repeated")[:, None], repeated, words)

  number = 1 + task.distractors
  every = np.tile(np.arange(task.keys, dtype=np.int32), (count, 1))
  keys = task.words + draws.permuted(every, axis=1)[:, :number]
  digits = draws.integers(10, size=(count, number, DIGITS), dtype=np.int32)
  needles = np.concatenate(
    [keys[..., None], task.words + task.keys + digits], axis=-1
  )

  # Slots of the length of a needle, so that none is told over another.
  room = length - DIGITS
  slots = np.tile(np.arange(room // _NEEDLE), (count, 1))
  slots = draws.permuted(slots, axis=1)[:, :number] * _NEEDLE
  starts = slots + draws.integers(room % _NEEDLE + 1, size=(count, 1))
  for n in range(number):
    told = (kind == "distractors") | (n == 0)
    at = starts[:, n, None] + np.arange(_NEEDLE)
    tokens[row[told], at[told]] = needles[told, n]

  tokens[:, -DIGITS:] = needles[:, 0, :-1]
  return {"tokens": tokens, "targets": needles[:, 0, 1:]}


@dataclasses.dataclass(frozen=True)
class Needles:
  """Training batches: `needles(step)` draws new rows at every step.

  Args:
    task: sizes.
    seed: of the draws.
  """

  task: HaystackConfig
  seed: int

  def __call__(self, step: int) -> dict[str, np.ndarray]:
    """Draws ``tokens`` and ``targets`` of a step."""
    draws = np.random.default_rng((self.seed, step))
    kinds = KINDS * (self.task.batch_size // len(KINDS))
    return rows_of(self.task, draws, kinds, self.task.length)


def loss(model: MemoryLM, batch: Mapping, key):
  """Summed (nats, digits) of the values, and number of digits named."""
  del key  # nothing is random
  targets = batch["targets"]
  logits = model(batch["tokens"])[:, -DIGITS:]
  weights = jnp.ones(targets.shape)
  nats, count = training.cross_entropy(logits, targets, weights)
  hits = (jnp.argmax(logits, -1) == targets).sum()
  return nats, count, {"accuracy": hits}
