"""Associative recall: the value paired with the key asked for."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import attnjax
from attnjax import training
from attnjax.nn import Embedding
from attnjax.ops.scoring import Scoring
from experiments.why_scale.config import LookupConfig

__all__ = ["Batches", "Lookup", "loss", "make"]

_UNIT = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")


class Lookup(nnx.Module):
  """One attention head from the key asked for to (key, value) pairs.

  Initial queries and keys have entries of variance 1, as the argument for the
  scale supposes: Var(q · k) = D.
  """

  def __init__(
    self, config: LookupConfig, head_width: int, scores: Scoring, rngs: nnx.Rngs
  ):
    table = lambda: Embedding(
      config.symbols, config.width, stddev=1.0, rngs=rngs
    )
    linear = lambda n, m: nnx.Linear(
      n, m, use_bias=False, kernel_init=_UNIT, rngs=rngs
    )
    self.keys, self.values = table(), table()
    self.query_map = linear(config.width, head_width)
    self.key_map = linear(config.width, head_width)
    self.readout = linear(config.width, config.symbols)

    self.scores = scores

  def __call__(self, asked, keys, values):
    """Logits ``B symbols`` of `asked` ``B`` among pairs ``B S``."""
    # One head, one query a row: BTHD with T = H = 1.
    query = self.query_map(self.keys(asked))[:, None, None, :]
    key = self.key_map(self.keys(keys))[:, :, None, :]
    value = self.values(values)[:, :, None, :]
    read = attnjax.attend(query, key, value, scoring=self.scores)
    return self.readout(read[:, 0, 0])


def loss(model: Lookup, batch: Mapping, key):
  """(summed cross-entropy in nats, rows, hits)."""
  del key  # nothing is random
  logits = model(batch["asked"], batch["keys"], batch["values"])
  weights = jnp.ones(batch["target"].shape)
  hits = (jnp.argmax(logits, -1) == batch["target"]).sum()
  nats, rows = training.cross_entropy(logits, batch["target"], weights)
  return nats, rows, {"accuracy": hits}


@dataclasses.dataclass(frozen=True)
class Batches:
  """`batches(step)`: new pairs at every step, without end."""

  config: LookupConfig
  seed: int

  def __call__(self, step: int) -> dict[str, np.ndarray]:
    """`keys`, `values` ``B S``, keys of a row different; `asked`, `target`."""
    draws = np.random.default_rng((self.seed, step))
    size, symbols = self.config.batch_size, self.config.symbols
    every = np.broadcast_to(np.arange(symbols, dtype=np.int32), (size, symbols))
    # Without repetition, or the key asked for could have two answers.
    keys = draws.permuted(every, axis=1)[:, : self.config.items]
    values = draws.integers(symbols, size=keys.shape, dtype=np.int32)
    place = draws.integers(self.config.items, size=size)
    rows = np.arange(size)

    return {
      "keys": keys,
      "values": values,
      "asked": keys[rows, place],
      "target": values[rows, place],
    }


def make(
  config: LookupConfig, head_width: int, scores: Scoring, seed: int
) -> Lookup:
  """A new model."""
  return jax.jit(lambda: Lookup(config, head_width, scores, nnx.Rngs(seed)))()
