"""Accuracy of recall by length, by number of pairs, and of overwritten keys."""

import math

import numpy as np

from attnjax.models import MemoryLM
from experiments import recall_accuracy
from experiments.recall_accuracy import SEED, answers
from experiments.recall_beyond_window.config import RecallConfig
from experiments.recall_task import draw_words, filled, lay_out

__all__ = ["by_length", "by_pairs", "deviation", "overwritten"]


def by_length(config: RecallConfig, model: MemoryLM) -> dict[int, float]:
  """Accuracy by length of the row."""
  task, test = config.task, config.test
  asked = lambda length: recall_accuracy.asked_rows(
    task, test.rows, length, test.pairs, test.pairs
  )
  return {
    length: recall_accuracy.accuracy(model, asked(length))
    for length in test.lengths
  }


def by_pairs(config: RecallConfig, model: MemoryLM) -> dict[int, float]:
  """Accuracy by number of pairs, in rows of one length."""
  test = config.test
  return recall_accuracy.by_pairs(
    config.task,
    model,
    test.capacities,
    rows=test.rows,
    length=test.capacity_length,
    questions=test.pairs,
  )


def overwritten(config: RecallConfig, model: MemoryLM) -> dict[str, float]:
  """Shares of answers that are the later, and the earlier, value of a key."""
  draws = np.random.default_rng(SEED)
  rows, pairs = config.test.rows, config.test.pairs
  once = -(-pairs // 2)  # keys; each is told twice

  keys, _ = draw_words(config.task, draws, rows, once)
  _, values = draw_words(config.task, draws, rows, 2 * once)
  told = np.concatenate([keys, draws.permuted(keys, axis=1)], axis=1)
  asked = draws.permuted(told, axis=1)[:, :pairs]

  starts, length = np.zeros(rows), config.test.capacity_length
  later = filled(
    config.task, draws, lay_out(told, values, asked, starts, length)
  )
  # Told the other way round, the earlier value is the answer.
  earlier = lay_out(told[:, ::-1], values[:, ::-1], asked, starts, length)

  found = np.asarray(answers(model, later["tokens"], pairs))
  return {
    "later": float((found == later["targets"]).mean()),
    "earlier": float((found == earlier["targets"]).mean()),
  }


def deviation(config: RecallConfig, accuracies: list[float]) -> float:
  """Deviation of a mean accuracy from chance, in standard deviations.

  Questions of a row ask for different pairs, so guesses are independent.
  """
  chance = 1 / config.task.values
  count = config.test.rows * config.test.pairs * len(accuracies)
  spread = math.sqrt(chance * (1 - chance) / count)
  return (sum(accuracies) / len(accuracies) - chance) / spread
