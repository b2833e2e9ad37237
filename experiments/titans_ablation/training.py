"""Trains one cell, all its seeds at once, and asks each seed's model."""

import dataclasses

from flax import nnx

from attnjax.models import MemoryLM
from experiments import memory_models
from experiments.recall_accuracy import by_pairs
from experiments.recall_task import Batches, loss, vocabulary
from experiments.seeds_at_once import of_seed, train_whole
from experiments.titans_ablation.config import VARIANTS, AblationConfig

__all__ = ["trained"]


def trained(config: AblationConfig, variant: str, rate: float) -> dict:
  """Accuracy of each seed by number of pairs, as JSON holds it.

  A seed has the same rows of training in all variants, and all are asked the
  same questions.

  Args:
    config: of the experiment.
    variant: of `VARIANTS`.
    rate: peak learning rate.

  Returns:
    ``parameters`` and ``bytes`` of the state of one model; ``curve``, the
    accuracy of training, a list a seed of means over `every` steps; ``pairs``,
    number of pairs -> a number a seed.
  """
  model = dataclasses.replace(config.model, **VARIANTS[variant])
  seeds, words = range(config.seeds), vocabulary(config.task)
  made = [MemoryLM(model, words, rngs=nnx.Rngs(seed)) for seed in seeds]

  last, curve = train_whole(
    made,
    loss,
    [Batches(config.task, seed) for seed in seeds],
    dataclasses.replace(config.optimizer, peak_learning_rate=rate),
    steps=config.steps,
    every=config.every,
  )

  asked = [_asked(config, of_seed(last, seed)) for seed in seeds]
  held = memory_models.state_bytes(made[0], [config.length])
  return {
    "parameters": memory_models.count(model, words),
    "bytes": held[config.length],
    "curve": curve,
    "pairs": {
      str(pairs): [found[pairs] for found in asked] for pairs in config.pairs
    },
  }


def _asked(config: AblationConfig, model: MemoryLM) -> dict[int, float]:
  """Accuracy of a trained model by number of pairs."""
  return by_pairs(
    config.task,
    model,
    config.pairs,
    rows=config.rows,
    length=config.length,
    questions=config.questions,
  )
