"""Rows: pairs of a key and a value, a gap of filler, and keys to be answered.

The word 0 is filler; then come the keys, then the values. A key may be told
again, with another value: then the later one is the answer.
"""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from attnjax import training
from attnjax.models import MemoryLM
from experiments.recall_beyond_window.config import TaskConfig

__all__ = ["Batches", "draw_words", "lay_out", "loss", "vocabulary"]


def vocabulary(task: TaskConfig) -> int:
  """Words there are: filler, keys, values."""
  return 1 + task.keys + task.values


def draw_words(task: TaskConfig, draws, rows: int, pairs: int):
  """Keys, no two of a row alike, and values, each ``rows pairs``."""
  every = np.arange(1, task.keys + 1, dtype=np.int32)
  keys = draws.permuted(np.tile(every, (rows, 1)), axis=1)[:, :pairs]
  first = 1 + task.keys
  values = draws.integers(
    first, first + task.values, size=(rows, pairs), dtype=np.int32
  )
  return keys, values


def lay_out(keys, values, asked, starts, length: int) -> dict[str, np.ndarray]:
  """Rows of a length, and the value that each question wants.

  Args:
    keys: int ``B P``, in the order they are told; 0 is no pair.
    values: int ``B P``.
    asked: int ``B Q``, keys, at the end of the rows.
    starts: int ``B``, where the first pair is told.
    length: T.

  Returns:
    ``tokens``, ``B T``, and ``targets``, ``B Q``.

  >>> one = np.array([[7, 8, 7]])
  >>> batch = lay_out(one, one + 10 * np.arange(3), one[:, :2], np.zeros(1), 11)
  >>> batch["tokens"].tolist(), batch["targets"].tolist()
  ([[7, 7, 8, 18, 7, 27, 0, 0, 0, 7, 8]], [[27, 18]])
  """
  rows, pairs = keys.shape
  row = np.arange(rows)
  tokens = np.zeros((rows, length), np.int32)
  latest = np.zeros((rows, 1 + max(keys.max(), asked.max())), np.int32)
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


@dataclasses.dataclass(frozen=True)
class Batches:
  """Rows to train on, fresh at every step: `batches(step)`, without end.

  The number of pairs and the place where they are told differ from row to row,
  so that the gap does.
  """

  task: TaskConfig
  seed: int

  def __call__(self, step: int) -> dict[str, np.ndarray]:
    """``tokens`` and ``targets``."""
    task, draws = self.task, np.random.default_rng((self.seed, step))
    rows = task.batch_size
    keys, values = draw_words(task, draws, rows, task.most)
    again = draws.random(keys.shape) < task.rewritten
    for n in range(1, task.most):
      earlier = draws.integers(n, size=rows)
      old = keys[np.arange(rows), earlier]
      keys[:, n] = np.where(again[:, n], old, keys[:, n])
    counts = draws.integers(task.fewest, task.most + 1, size=(rows, 1))
    which = (draws.random((rows, task.questions)) * counts).astype(int)
    asked = np.take_along_axis(keys, which, axis=1)
    keys = np.where(np.arange(task.most) < counts, keys, 0)
    room = task.length - task.questions - 2 * counts[:, 0]
    starts = (draws.random(rows) * (room + 1)).astype(int)
    return lay_out(keys, values, asked, starts, task.length)


def loss(model: MemoryLM, batch: Mapping, key):
  """(nats, answers) of the questions alone; how many were right."""
  del key  # nothing is random
  targets = batch["targets"]
  logits = model(batch["tokens"])[:, -targets.shape[1] :]
  weights = jnp.ones(targets.shape)
  nats, count = training.cross_entropy(logits, targets, weights)
  hits = (jnp.argmax(logits, -1) == targets).sum()
  return nats, count, {"accuracy": hits}
