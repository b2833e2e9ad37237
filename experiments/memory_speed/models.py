"""Speed of language models with a memory, against length."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax import training
from attnjax.models import MemoryLM
from experiments.memory_models import (
  ARCHITECTURES,
  count,
  fitted,
  state_bytes,
)
from experiments.memory_speed.config import MemorySpeedConfig
from experiments.timing.jax_timing import prepare_jax
from experiments.timing.records import record
from experiments.timing.rounds import measure

__all__ = ["models_of", "records_of_length"]


def models_of(config: MemorySpeedConfig) -> dict[str, MemoryLM]:
  """Models by architecture, all of about the same number of parameters."""
  of = config.model
  models = {}

  for name in of.architectures:
    sizes = fitted(
      of.sizes,
      ARCHITECTURES[name],
      vocabulary=of.vocabulary,
      parameters=of.parameters,
    )
    # Parameters are made in one compiled program, not leaf by leaf.
    make = functools.partial(MemoryLM, sizes, of.vocabulary)
    seeded = lambda make=make: make(rngs=nnx.Rngs(config.seed))
    models[name] = jax.jit(seeded)()
  return models


def records_of_length(
  config: MemorySpeedConfig, models: dict[str, MemoryLM], length: int
) -> Iterator[dict[str, Any]]:
  """Measures loss and gradient of every model on one row; yields records.

  Args:
    config: how long is measured.
    models: from `models_of`.
    length: T.
  """
  tokens = _tokens(config, length)
  prepares = {
    name: functools.partial(
      prepare_jax,
      jax.value_and_grad(_loss),
      (model, tokens),
      limit_gb=config.memory_limit_gb,
      witness=lambda result: [[float(result[0])]],
    )
    for name, model in models.items()
  }

  # They compute different things: nobody has to agree with the first.
  first = config.model.architectures[0]
  rows = measure(prepares, config.rounds, ours=first, unlike=tuple(models))

  for row in rows:
    model = models[row.contender]
    yield record(
      row,
      length=length,
      parameters=count(model.config, model.vocabulary),
      state_bytes=state_bytes(model, [length])[length],
      microseconds_per_token=row.seconds / length * 1e6
      if row.seconds
      else None,
    )


def _tokens(config: MemorySpeedConfig, length: int):
  """Random tokens, int32 ``1 T+1``."""
  rng = np.random.default_rng((config.seed, length))
  drawn = rng.integers(config.model.vocabulary, size=(1, length + 1))
  return jnp.asarray(drawn, jnp.int32)


def _loss(model: MemoryLM, tokens):
  """Mean cross-entropy of the next token, nats."""
  logits, targets = model(tokens[:, :-1]), tokens[:, 1:]
  # Every token counts: a row is drawn whole, without padding.
  weights = jnp.ones(targets.shape, jnp.float32)
  total, weight = training.cross_entropy(logits, targets, weights)
  return total / weight
