"""An attention layer trained to query unseen stores, and its control."""

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

# What the layer attends over; the second has no answer in it: a control.
SOURCES = ("the store", "the row itself")


class Asker(nnx.Module):
  """One attention layer from noisy keys to a store, and a linear readout."""

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
    """Logits ``B T symbols`` of a batch, attending over one of `SOURCES`."""
    asked = self.question(batch["asked"])
    # In one vector, because the layer projects keys and values from one memory.
    store = self.key(batch["keys"]) + self.value(batch["values"])
    # None is self-attention over the noisy keys.
    memory = store if source == SOURCES[0] else None
    return self.readout(self.attention(asked, memory))


@dataclasses.dataclass(frozen=True)
class Loss:
  """Cross-entropy of the answers, attending over one of `SOURCES`."""

  source: str

  def __call__(self, model: Asker, batch: Mapping, key):
    """(summed cross-entropy in nats, answers, hits)."""
    del key  # nothing is random
    logits = model(batch, self.source)
    weights = jnp.ones(batch["targets"].shape)
    hits = (jnp.argmax(logits, -1) == batch["targets"]).sum()
    nats, count = training.cross_entropy(logits, batch["targets"], weights)
    return nats, count, {"accuracy": hits}


@dataclasses.dataclass(frozen=True)
class Batches:
  """`batches(step)`: each row has a new store, so that none can be learned."""

  config: ExternalMemoryConfig
  seed: int

  def __call__(self, step: int) -> dict[str, np.ndarray]:
    """Keys ``B S D`` and values ``B S``; noisy keys ``B T D``; targets."""
    config = self.config.trained
    draws = np.random.default_rng((self.seed, step))
    rows, width = config.batch_size, self.config.width
    keys = draws.standard_normal((rows, config.slots, width), np.float32)
    # Of length 1, as those of `measure.draw_keys`.
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
