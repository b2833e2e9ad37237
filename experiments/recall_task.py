"""The recall task: rows of (key, value) pairs, filler, and questions.

Word 0 is filler, the next ones are keys, then come values, and further words of
filler at last. A key may be told again with another value: then the later one
is the answer.
"""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from attnjax import training
from attnjax.config import Config, setting
from attnjax.models import MemoryLM

__all__ = [
  "Batches",
  "TaskConfig",
  "draw_words",
  "filled",
  "lay_out",
  "loss",
  "vocabulary",
]


@dataclasses.dataclass(frozen=True)
class TaskConfig(Config):
  """Rows to train on."""

  keys: int = setting(64, "words that may be keys", at_least=1)
  values: int = setting(32, "words that may be values", at_least=1)
  fillers: int = setting(
    1,
    "words of filler, one of which is drawn where nothing is told",
    at_least=1,
  )
  length: int = setting(128, "tokens of a row, T", at_least=1)
  fewest: int = setting(2, "pairs of a row, at least", at_least=1)
  most: int = setting(8, "pairs of a row, at most", at_least=1)
  rewritten: float = setting(
    0.2,
    "share of the pairs whose key was told before, within 0 and 1",
    at_least=0,
    below=1,
  )
  questions: int = setting(32, "keys asked at the end of a row", at_least=1)
  batch_size: int = setting(16, "rows in a batch, B", at_least=1)

  def __post_init__(self):
    super().__post_init__()
    if self.fewest > self.most or self.most > self.keys:
      raise ValueError(
        "task: pairs must be fewest <= most <= keys, got"
        f" {self.fewest}, {self.most} and {self.keys}"
      )

    if self.length < 2 * self.most + self.questions:
      raise ValueError(
        f"task: length={self.length} does not hold {self.most} pairs and"
        f" {self.questions} questions"
      )


def vocabulary(task: TaskConfig) -> int:
  """Number of words: fillers, keys and values."""
  return task.fillers + task.keys + task.values


def draw_words(task: TaskConfig, draws, rows: int, pairs: int):
  """Draws (keys, values), each int32 ``rows pairs``; keys of a row differ."""
  every = np.arange(1, task.keys + 1, dtype=np.int32)
  keys = draws.permuted(np.tile(every, (rows, 1)), axis=1)[:, :pairs]
  first = 1 + task.keys
  values = draws.integers(
    first, first + task.values, size=(rows, pairs), dtype=np.int32
  )
  return keys, values


def lay_out(keys, values, asked, starts, length: int) -> dict[str, np.ndarray]:
  """Lays out rows of pairs, filler and questions, with their answers.

  Args:
    keys: int ``B P``, in the order they are told; 0 is no pair.
    values: int ``B P``.
    asked: int ``B Q``, keys, at the end of the rows.
    starts: int ``B``, where the first pair is told.
    length: T.

  Returns:
    ``tokens``, ``B T``, and ``targets``, ``B Q``.

  >>> import numpy as np
  >>> one = np.array([[7, 8, 7]])
  >>> batch = lay_out(one, one + 10 * np.arange(3), one[:, :2], np.zeros(1), 11)
  >>> batch["tokens"].tolist(), batch["targets"].tolist()
  ([[7, 7, 8, 18, 7, 27, 0, 0, 0, 7, 8]], [[27, 18]])
  """
  rows, pairs = keys.shape
  row = np.arange(rows)
  tokens = np.zeros((rows, length), np.int32)
  latest = np.zeros((rows, 1 + max(keys.max(), asked.max())), np.int32)

  # In the order they are told: a later pair of a key overwrites its value in
  # `latest`. Key 0, no pair, overwrites column 0, which no question reads.
  for n in range(pairs):
    at, told = starts.astype(int) + 2 * n, keys[:, n] > 0
    tokens[row[told], at[told]] = keys[told, n]
    tokens[row[told], at[told] + 1] = values[told, n]
    latest[row, keys[:, n]] = values[:, n]

  tokens[:, length - asked.shape[1] :] = asked
  return {
    "tokens": tokens,
    "targets": np.take_along_axis(latest, asked, axis=1),
  }


def filled(task: TaskConfig, draws, batch: Mapping) -> dict[str, np.ndarray]:
  """A batch of `lay_out` with a word of filler drawn for each 0.

  >>> import numpy as np
  >>> task = TaskConfig(keys=8, values=2, fillers=3)
  >>> draws = np.random.default_rng(0)
  >>> row = filled(task, draws, {"tokens": np.array([7] + 40 * [0])})
  >>> sorted({*row["tokens"].tolist()})  # 11 and 12 are filler as 0 is
  [0, 7, 11, 12]
  """
  tokens = batch["tokens"]
  words = draws.integers(task.fillers, size=tokens.shape, dtype=np.int32)
  words = np.where(words > 0, words + task.keys + task.values, 0)
  return {**batch, "tokens": np.where(tokens == 0, words, tokens)}


@dataclasses.dataclass(frozen=True)
class Batches:
  """Training batches: `batches(step)` draws new rows at every step.

  The number of pairs and their place differ from row to row, and so the gap.
  """

  task: TaskConfig
  seed: int

  def __call__(self, step: int) -> dict[str, np.ndarray]:
    """Draws ``tokens`` and ``targets`` of a step."""
    task, draws = self.task, np.random.default_rng((self.seed, step))
    rows = task.batch_size
    keys, values = draw_words(task, draws, rows, task.most)

    # Some keys are replaced by an earlier one of the row.
    again = draws.random(keys.shape) < task.rewritten
    for n in range(1, task.most):
      earlier = draws.integers(n, size=rows)
      old = keys[np.arange(rows), earlier]
      keys[:, n] = np.where(again[:, n], old, keys[:, n])

    # Each row asks for pairs of its own, whose number `counts` differs.
    counts = draws.integers(task.fewest, task.most + 1, size=(rows, 1))
    which = (draws.random((rows, task.questions)) * counts).astype(int)
    asked = np.take_along_axis(keys, which, axis=1)
    keys = np.where(np.arange(task.most) < counts, keys, 0)

    # The pairs begin anywhere where they end before the questions.
    room = task.length - task.questions - 2 * counts[:, 0]
    starts = (draws.random(rows) * (room + 1)).astype(int)
    batch = lay_out(keys, values, asked, starts, task.length)
    return filled(task, draws, batch)


def loss(model: MemoryLM, batch: Mapping, key):
  """Summed (nats, answers) of the questions, and number of correct answers."""
  del key  # nothing is random
  targets = batch["targets"]
  # Only questions count: the words before them are random.
  logits = model(batch["tokens"])[:, -targets.shape[1] :]
  weights = jnp.ones(targets.shape)
  nats, count = training.cross_entropy(logits, targets, weights)
  hits = (jnp.argmax(logits, -1) == targets).sum()
  return nats, count, {"accuracy": hits}
