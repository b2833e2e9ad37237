"""Shares of questions that are answered right, in rows that nobody trained on.

Pairs are told at the beginning of a row and asked for at its end.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.models import MemoryLM
from experiments.recall_task import TaskConfig, draw_words, filled, lay_out

__all__ = ["SEED", "accuracy", "answers", "asked_rows", "by_pairs"]

# Of the test rows: no seed of a training run is as large.
SEED = 99_999


def asked_rows(
  task: TaskConfig, rows: int, length: int, pairs: int, questions: int
) -> dict[str, np.ndarray]:
  """Test rows: pairs at the beginning, filler, and questions at the end.

  Args:
    task: its words.
    rows: B.
    length: T.
    pairs: told in a row, all keys different.
    questions: Q, at most; no pair is asked for twice.

  Returns:
    ``tokens``, ``B T``, and ``targets``, ``B Q``: the same rows at every call.

  >>> from experiments.recall_task import TaskConfig
  >>> batch = asked_rows(TaskConfig(), rows=2, length=40, pairs=5, questions=3)
  >>> batch["tokens"].shape, batch["targets"].shape
  ((2, 40), (2, 3))
  """
  draws = np.random.default_rng((SEED, length, pairs))
  keys, values = draw_words(task, draws, rows, pairs)
  asked = draws.permuted(keys, axis=1)[:, :questions]
  batch = lay_out(keys, values, asked, np.zeros(rows), length)
  return filled(task, draws, batch)


@functools.partial(jax.jit, static_argnums=2)
def answers(model: MemoryLM, tokens, questions: int):
  """The most probable next word at each of the last tokens, int ``B Q``."""
  return jnp.argmax(model(tokens)[:, -questions:], -1)


def accuracy(model: MemoryLM, batch: dict[str, np.ndarray]) -> float:
  """Share of the questions that are answered correctly."""
  targets = batch["targets"]
  found = answers(model, batch["tokens"], targets.shape[1])
  return float((np.asarray(found) == targets).mean())


def by_pairs(
  task: TaskConfig,
  model: MemoryLM,
  counts: Sequence[int],
  *,
  rows: int,
  length: int,
  questions: int,
) -> dict[int, float]:
  """Accuracy by number of pairs told, in rows of one length.

  Where there are fewer pairs than questions, pairs are asked for again.
  """
  drawn = lambda pairs: asked_rows(task, rows, length, pairs, questions)
  return {
    pairs: accuracy(model, _asked_again(drawn(pairs), questions))
    for pairs in counts
  }


def _asked_again(batch: dict[str, np.ndarray], questions: int):
  """Rows with as many questions as wanted: one shape of all is one program."""
  pairs = batch["targets"].shape[1]
  if pairs == questions:
    return batch

  again = np.arange(questions) % pairs
  tokens = batch["tokens"].copy()
  tokens[:, -questions:] = tokens[:, -pairs:][:, again]
  return {"tokens": tokens, "targets": batch["targets"][:, again]}
