"""Trains one cell, all its seeds at once, and tests it on longer words."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.models import MemoryLM
from experiments.seeds_at_once import train_whole
from experiments.state_tracking.config import VARIANTS, TrackingConfig
from experiments.state_tracking.groups import Words, group, loss

__all__ = ["trained"]

# Of the test words: no seed of a training is as large.
_SEED = 99_999


def trained(
  config: TrackingConfig, name: str, variant: str, rate: float
) -> dict:
  """Accuracy of each seed by length of the word, as JSON holds it.

  The accuracy is that of the last quarter of a word: what is said there needs
  every letter before. ``curve``: that of training, a list a seed.
  """
  model = dataclasses.replace(config.model, **VARIANTS[variant])
  size, seeds = len(group(name).table), range(config.seeds)
  words = lambda seed: Words(name, config.length, config.batch_size, seed)

  last, curve = train_whole(
    [MemoryLM(model, size, rngs=nnx.Rngs(seed)) for seed in seeds],
    loss,
    [words(seed) for seed in seeds],
    dataclasses.replace(config.optimizer, peak_learning_rate=rate),
    steps=config.steps,
    every=config.every,
  )

  return {
    "curve": curve,
    "by length": {
      str(length): _right(last, Words(name, length, config.rows, _SEED)(0))
      for length in config.lengths
    },
  }


@jax.jit
def _answers(models: MemoryLM, tokens):
  """The most probable element at every letter, ``S B T``."""
  one = lambda model: jnp.argmax(model(tokens), -1)
  return jax.vmap(one)(models)


def _right(models: MemoryLM, batch) -> list[float]:
  """Share of right answers in the last quarter, of each seed."""
  found = np.asarray(_answers(models, batch["tokens"]))
  late = -(-found.shape[-1] // 4)
  right = found[..., -late:] == batch["targets"][:, -late:]
  return right.mean((-2, -1)).round(4).tolist()
