"""Accuracy of recall by length, by number of pairs, and of overwritten keys."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.models import MemoryLM
from experiments.recall_beyond_window.config import RecallConfig
from experiments.recall_task import draw_words, filled, lay_out

__all__ = ["asked_rows", "by_length", "by_pairs", "deviation", "overwritten"]

# Of the test rows: no seed of a training run is as large.
_SEED = 99_999


def asked_rows(
  config: RecallConfig, length: int, pairs: int, *, seed: int = _SEED
) -> dict[str, np.ndarray]:
  """Test rows: pairs at the beginning, filler, and questions at the end."""
  draws = np.random.default_rng((seed, length, pairs))
  keys, values = draw_words(config.task, draws, config.test.rows, pairs)
  asked = draws.permuted(keys, axis=1)[:, : config.test.pairs]
  batch = lay_out(keys, values, asked, np.zeros(len(keys)), length)
  return filled(config.task, draws, batch)


@functools.partial(jax.jit, static_argnums=2)
def _answers(model: MemoryLM, tokens, questions: int):
  """The most probable next word at each of the last tokens, int ``B Q``."""
  return jnp.argmax(model(tokens)[:, -questions:], -1)


def accuracy(model: MemoryLM, batch: dict[str, np.ndarray]) -> float:
  """Share of the questions that are answered correctly."""
  targets = batch["targets"]
  found = _answers(model, batch["tokens"], targets.shape[1])
  return float((np.asarray(found) == targets).mean())


def by_length(config: RecallConfig, model: MemoryLM) -> dict[int, float]:
  """Accuracy by length of the row."""
  pairs = config.test.pairs
  return {
    length: accuracy(model, asked_rows(config, length, pairs))
    for length in config.test.lengths
  }


def by_pairs(config: RecallConfig, model: MemoryLM) -> dict[int, float]:
  """Accuracy by number of pairs, in rows of one length."""
  length = config.test.capacity_length
  return {
    pairs: accuracy(model, _many(config, length, pairs))
    for pairs in config.test.capacities
  }


def _many(config: RecallConfig, length: int, pairs: int):
  """Rows of many pairs; where there are few, each is asked more than once."""
  batch = asked_rows(config, length, pairs)
  short = config.test.pairs - batch["targets"].shape[1]
  if short <= 0:
    return batch

  # One shape of all rows, so that they are one program.
  again = np.arange(config.test.pairs) % pairs
  tokens = batch["tokens"].copy()
  asked = tokens[:, -pairs:][:, again]
  tokens[:, -len(again) :] = asked
  return {"tokens": tokens, "targets": batch["targets"][:, again]}


def overwritten(config: RecallConfig, model: MemoryLM) -> dict[str, float]:
  """Shares of answers that are the later, and the earlier, value of a key."""
  draws = np.random.default_rng(_SEED)
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

  found = np.asarray(_answers(model, later["tokens"], pairs))
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
