"""Trains one cell, all its seeds at once, and measures each seed's model."""

import dataclasses

from attnjax.models import MemoryLM
from experiments.recall_beyond_window import measure, variants
from experiments.recall_beyond_window.config import RecallConfig
from experiments.recall_beyond_window.interventions import has_memory, intervene
from experiments.recall_task import Batches, loss
from experiments.seeds_at_once import of_seed, train_whole

__all__ = ["trained"]


def trained(
  config: RecallConfig, variant: str, width: int, rate: float
) -> dict:
  """Measures of every seed, and what a model of the cell holds, as in JSON.

  Every batch is new, so that the accuracy of training, ``curve``, is that of
  rows which no step has seen.

  Args:
    config: of the experiment.
    variant: of `VARIANTS`.
    width: M of the model.
    rate: peak learning rate.

  Returns:
    ``parameters`` and ``bytes`` (by length) of one model; ``curve``, a list a
    seed of means over `every` steps; ``seeds``, the measures of each.
  """
  seeds = range(config.seeds)
  last, curve = train_whole(
    [variants.make(config, variant, width, seed) for seed in seeds],
    loss,
    [Batches(config.task, seed) for seed in seeds],
    dataclasses.replace(config.optimizer, peak_learning_rate=rate),
    steps=config.steps,
    every=config.every,
  )

  bytes_ = variants.state_bytes(config, variant, width, config.test.lengths)
  return {
    "parameters": variants.count(config, variant, width),
    "bytes": _named(bytes_),
    "curve": curve,
    "seeds": [_answers(config, of_seed(last, seed)) for seed in seeds],
  }


def _answers(config: RecallConfig, model: MemoryLM) -> dict:
  """All measures of a trained model."""
  return {
    "by length": _named(measure.by_length(config, model)),
    "by pairs": _named(measure.by_pairs(config, model)),
    "overwritten": measure.overwritten(config, model),
    "interventions": intervene(config, model) if has_memory(model) else {},
  }


def _named(numbers: dict) -> dict:
  """With names as JSON has them."""
  return {str(name): x for name, x in numbers.items()}
