"""A layer that learns to ask a store it has never seen, or only its own row."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax import training
from attnjax.nn import Embedding, MultiHeadAttention
from experiments.external_memory.config import ExternalMemoryConfig

__all__ = ["SOURCES", "Asker", "Batches", "Loss", "make"]

SOURCES = ("the store", "the row itself")


class Asker(nnx.Module):
  """Noisy keys ask by one layer of attention; a linear map reads the answer."""

  def __init__(self, config: ExternalMemoryConfig, rngs: nnx.Rngs):
    trained = config.trained
    width = trained.model_width
    linear = lambda n, m: nnx.Linear(n, m, use_bias=False, rngs=rngs)
    self.question = linear(config.width, width)
    self.key = linear(config.width, width)
    self.value = Embedding(config.symbols, width, stddev=0.5, rngs=rngs)
    self.attention = MultiHeadAttention(width, trained.heads, rngs=rngs)
    self.readout = nnx.Linear(width, config.symbols, rngs=rngs)

  def __call__(self, batch: Mapping, source: str):
    """Logits ``B T symbols``."""
    asked = self.question(batch["asked"])
    store = self.key(batch["keys"]) + self.value(batch["values"])
    memory = store if source == SOURCES[0] else None
    return self.readout(self.attention(asked, memory))


@dataclasses.dataclass(frozen=True)
class Loss:
  """(nats, answers, hits) of a batch, reading one of `SOURCES`."""

  source: str

  def __call__(self, model: Asker, batch: Mapping, key):
    """As `training.make_step` calls it."""
    del key  # nothing is random
    logits = model(batch, self.source)
    weights = jnp.ones(batch["targets"].shape)
    hits = (jnp.argmax(logits, -1) == batch["targets"]).sum()
    nats, count = training.cross_entropy(logits, batch["targets"], weights)
    return nats, count, {"accuracy": hits}


@dataclasses.dataclass(frozen=True)
class Batches:
  """A store of its own for every row of every step, so that none is learned."""

  config: ExternalMemoryConfig
  seed: int

  def __call__(self, step: int) -> dict[str, np.ndarray]:
    """Keys and values of the stores, keys asked with, values wanted."""
    config, draws = (
      self.config.trained,
      np.random.default_rng((self.seed, step)),
    )
    rows, width = config.batch_size, self.config.width
    keys = draws.standard_normal((rows, config.slots, width), np.float32)
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    values = draws.integers(
      self.config.symbols, size=(rows, config.slots), dtype=np.int32
    )
    at = draws.integers(config.slots, size=(rows, config.questions))
    exact = np.take_along_axis(keys, at[..., None], axis=1)
    noise = draws.standard_normal(exact.shape, np.float32)

    return {
      "keys": keys,
      "values": values,
      "asked": exact + np.float32(config.noise) * noise,
      "targets": np.take_along_axis(values, at, axis=1),
    }


def make(config: ExternalMemoryConfig, seed: int) -> Asker:
  """A new model."""
  return jax.jit(lambda: Asker(config, nnx.Rngs(seed)))()
