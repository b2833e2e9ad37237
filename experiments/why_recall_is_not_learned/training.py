"""Trains all seeds of one cell at once, until they recall or time is up."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import training
from attnjax.models import MATRICES
from attnjax.training.step import Step
from experiments.recall_task import Batches, loss, vocabulary
from experiments.why_recall_is_not_learned.config import (
  HALVES,
  KINDS,
  StartsConfig,
)
from experiments.why_recall_is_not_learned.starts import halved

__all__ = ["trained"]


@functools.partial(jax.jit, static_argnums=0)
def _many(step: Step, states, batches):
  """(states, loss and accuracy ``N S``) after N steps of S models at once."""

  def one(states, batch):
    states, metrics = jax.vmap(step)(states, batch)
    return states, (metrics["loss"], metrics["accuracy"])

  return jax.lax.scan(one, states, batches)


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
  step = _step(
    dataclasses.replace(config.optimizer, peak_learning_rate=rate), config.steps
  )
  # One model of all seeds: programs this small spend their time on dispatch.
  states = [
    training.init_state(
      halved(model, vocabulary(config.task), seed, query=query, key=key),
      step.optimizer,
    )
    for seed in range(config.seeds)
  ]
  states = jax.tree.map(lambda *x: jnp.stack(x), *states)

  rows = [Batches(config.task, seed) for seed in range(config.seeds)]
  curves: list[tuple[np.ndarray, np.ndarray]] = []
  for begun in range(0, config.steps, config.every):
    batches = [
      [batch(begun + n) for batch in rows] for n in range(config.every)
    ]
    # ``N S B T``
    stacked = jax.tree.map(
      lambda *x: np.stack(x),
      *[jax.tree.map(lambda *x: np.stack(x), *seeds) for seeds in batches],
    )
    states, found = _many(step, states, stacked)
    curves.append(tuple(np.asarray(x).mean(0) for x in found))
    best = np.max([accuracy for _, accuracy in curves], axis=0)
    if (best >= config.goals[-1]).all():
      break

  losses, accuracies = (np.stack(x, axis=1) for x in zip(*curves, strict=True))
  return {
    "steps": {
      str(goal): [_first(row >= goal, config.every) for row in accuracies]
      for goal in config.goals
    },
    "loss": losses.round(4).tolist(),
    "accuracy": accuracies.round(4).tolist(),
  }


# One object a rate: by it the compiled programs of a kind are found again.
@functools.cache
def _step(optimizer: training.OptimizerConfig, steps: int) -> Step:
  """The step of a training, whose loss is that of the questions."""
  transform = training.make_optimizer(optimizer, steps, MATRICES)
  return training.make_step(loss, transform)


def _first(reached: np.ndarray, every: int) -> int | None:
  """The step of the first look that reached its goal, or None."""
  looks = np.flatnonzero(reached)
  return int(every * (looks[0] + 1)) if looks.size else None
