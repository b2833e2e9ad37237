"""Trains all seeds of one cell at once, until they recall or time is up."""

import dataclasses

import numpy as np

from experiments.recall_task import Batches, loss, vocabulary
from experiments.seeds_at_once import train
from experiments.why_recall_is_not_learned.config import (
  HALVES,
  KINDS,
  StartsConfig,
)
from experiments.why_recall_is_not_learned.starts import halved

__all__ = ["trained"]


def trained(config: StartsConfig, kind: str, half: str, rate: float) -> dict:
  """Steps that each seed took to each goal, and the curves, as JSON holds them.

  Every batch is new, so that the accuracy of training is that of rows which no
  step has seen.

  Args:
    config: of the experiment.
    kind: of `KINDS`.
    half: of `HALVES`.
    rate: peak learning rate.

  Returns:
    ``steps``, goal -> a number a seed, None where it was not reached;
    ``accuracy`` and ``loss``, a list a seed of means over `every` steps.
  """
  model = dataclasses.replace(config.model, **KINDS[kind])
  query, key = HALVES[half]
  seeds, words = range(config.seeds), vocabulary(config.task)

  looks = train(
    [halved(model, words, seed, query=query, key=key) for seed in seeds],
    loss,
    [Batches(config.task, seed) for seed in seeds],
    dataclasses.replace(config.optimizer, peak_learning_rate=rate),
    steps=config.steps,
    every=config.every,
  )
  losses, accuracies = [], []
  for look in looks:
    losses.append(look.metrics["loss"])
    accuracies.append(look.metrics["accuracy"])
    if (np.max(accuracies, axis=0) >= config.goals[-1]).all():
      break

  rows = np.stack(accuracies, axis=1)  # a seed each
  return {
    "steps": {
      str(goal): [_first(row >= goal, config.every) for row in rows]
      for goal in config.goals
    },
    "loss": np.stack(losses, axis=1).round(4).tolist(),
    "accuracy": rows.round(4).tolist(),
  }


def _first(reached: np.ndarray, every: int) -> int | None:
  """The step of the first look that reached its goal, or None."""
  looks = np.flatnonzero(reached)
  return int(every * (looks[0] + 1)) if looks.size else None
