"""Trains one cell, all its seeds at once, and tests it on longer haystacks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.models import MemoryLM
from experiments.needle.config import VARIANTS, NeedleConfig
from experiments.needle.haystacks import DIGITS, KINDS, Needles, loss, rows_of
from experiments.seeds_at_once import of_seed, train_whole

__all__ = ["trained"]

# Of the test rows: no seed of a training is as large.
_SEED = 99_999


def trained(config: NeedleConfig, variant: str, rate: float) -> dict:
  """Share of values that each seed names whole, as JSON holds it.

  Args:
    config: of the experiment.
    variant: of `VARIANTS`.
    rate: peak learning rate.

  Returns:
    ``curve``, digits named in training, a list a seed; ``values``, kind ->
    length -> a number a seed.
  """
  model = dataclasses.replace(config.model, **VARIANTS[variant])
  made = lambda seed: MemoryLM(
    model, config.task.vocabulary, rngs=nnx.Rngs(seed)
  )
  last, curve = train_whole(
    [made(seed) for seed in range(config.seeds)],
    loss,
    [Needles(config.task, seed) for seed in range(config.seeds)],
    dataclasses.replace(config.optimizer, peak_learning_rate=rate),
    steps=config.steps,
    every=config.every,
  )

  return {
    "curve": curve,
    "values": {
      kind: {
        str(length): _named(config, last, kind, length)
        for length in config.lengths
      }
      for kind in KINDS
    },
  }


@jax.jit
def _digits(model: MemoryLM, tokens):
  """The most probable digit after each of the last tokens, ``B 4``."""
  return jnp.argmax(model(tokens)[:, -DIGITS:], -1)


def _named(
  config: NeedleConfig, models: MemoryLM, kind: str, length: int
) -> list[float]:
  """Share of rows of which each seed names all four digits."""
  draws = np.random.default_rng((_SEED, length, KINDS.index(kind)))
  batch = rows_of(config.task, draws, [kind] * config.rows, length)
  shares = []
  # Seed after seed: rows of 16,384 tokens are enough at once.
  for seed in range(config.seeds):
    model = of_seed(models, seed)
    right = np.asarray(_digits(model, batch["tokens"])) == batch["targets"]
    shares.append(round(float(right.all(-1).mean()), 4))
  return shares
