"""One trained head: every noun must report the adjectives that describe it."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax import masks, score_mods
from attnjax.nn import Embedding, MultiHeadAttention
from experiments.fluffy_creature.config import HeadConfig

__all__ = ["LOOKS", "Loss", "OneHead", "make"]

# What a query may look at, and whether the head knows distances.
LOOKS = ("head", "no distances", "previous word")


def _previous(batch, head, query, key):
  """The word before, and nothing else."""
  del batch, head
  return key == query - 1


class OneHead(nnx.Module):
  """Embedding, one causal head, and a linear reader of the moved embedding.

      E' = E + A V,    report = E' W + b

  The head knows distances by a learned bias, as in T5.
  """

  def __init__(self, config: HeadConfig, words: int, adjectives: int, rngs):
    self.embed = Embedding(words, config.width, stddev=0.5, rngs=rngs)
    self.attention = MultiHeadAttention(
      config.width,
      1,
      head_width=config.head_width,
      value_width=config.value_width,
      rngs=rngs,
    )
    self.distances = nnx.Param(jnp.zeros((config.buckets, 1)))
    self.readout = nnx.Linear(config.width, adjectives, rngs=rngs)

  def __call__(self, tokens, look: str = "head"):
    """(embeddings before, after, weights ``B T S``)."""
    before = self.embed(tokens)
    mask = masks.causal()
    if look == "previous word":
      mask = masks.from_fn(_previous)
    near = None
    if look == "head":
      near = score_mods.relative_bias(
        self.distances[...], bidirectional=False, max_distance=64
      )
    change, aux = self.attention(
      before, mask=mask, score_mod=near, aux=("weights",)
    )
    return before, before + change, aux.weights[:, 0]

  def report(self, tokens, look: str = "head"):
    """Of every word, which share of its description each adjective is."""
    return self.readout(self(tokens, look)[1])


@dataclasses.dataclass(frozen=True)
class Loss:
  """Squared error of the report, summed over adjectives, a word.

  A noun with k adjectives is described by each to 1/k, all other words by
  nothing. So the change of a noun must be as large whether one adjective makes
  it or three, and attention cannot leave a part of itself on other words.
  """

  look: str

  def __call__(self, model: OneHead, batch: Mapping, key):
    """(squared error, words), summed."""
    del key  # nothing is random
    report = model.report(batch["tokens"], self.look)
    described = batch["described"]
    given = described >= 0
    share = 1 / jnp.maximum(given.sum(-1), 1).astype(report.dtype)
    picked = jnp.take_along_axis(report, jnp.where(given, described, 0), -1)
    # Σ_a (r_a - s_a)² = Σ_a r_a² - Σ_own (2 r_a s_a - s_a²)
    own = jnp.where(
      given, (2 * picked - share[..., None]) * share[..., None], 0
    )
    error = jnp.square(report).sum(-1) - own.sum(-1)
    weights = batch["weights"]
    return (error * weights).sum(), weights.sum()


def make(config: HeadConfig, words: int, adjectives: int, seed: int) -> OneHead:
  """A new model."""
  return jax.jit(lambda: OneHead(config, words, adjectives, nnx.Rngs(seed)))()
