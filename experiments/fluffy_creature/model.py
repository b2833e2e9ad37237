"""One trained head: every noun must report the adjectives that describe it."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax import masks, score_mods
from attnjax.nn import Embedding, MultiHeadAttention
from experiments.fluffy_creature.config import HeadConfig

__all__ = ["Loss", "OneHead", "make", "shares"]


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

    self.readout = nnx.Linear(config.width, adjectives + 1, rngs=rngs)

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
    """Of every word, a number for each adjective and, last, for nothing."""
    return self.readout(self(tokens, look)[1])


def shares(report, kind: str):
  """The share of a word's description that each adjective is said to be."""
  report = jax.nn.softmax(report) if kind == "entropy" else report
  return report[..., :-1]


@dataclasses.dataclass(frozen=True)
class Loss:
  """How far the report of each word is from what describes it.

  A noun with k adjectives is described by each to 1/k; other words, and nouns
  without any, wholly by nothing. "squared" is the squared error of the report
  of every word. "entropy" is the cross-entropy of the softmax of a noun's
  report, in nats, for corpora of a thousand adjectives, each so rare that its
  square hardly pulls; there only nouns are asked, for most words of a text are
  none, and what a step costs is the softmax over all adjectives.
  """

  look: str
  kind: str

  def __call__(self, model: OneHead, batch: Mapping, key):
    """(loss, words asked), summed; NaN if more than one in four is a noun."""
    del key  # nothing is random
    if self.kind == "entropy":
      return self._entropy(model, batch)
    report = model.report(batch["tokens"], self.look)
    wanted = _wanted(batch["described"], report.shape[-1] - 1)
    loss = jnp.square(report - wanted).sum(-1)
    weights = batch["weights"]
    return (loss * weights).sum(), weights.sum()

  def _entropy(self, model: OneHead, batch: Mapping):
    """Of the nouns alone, gathered from all places of the batch."""
    is_noun = batch["is_noun"].ravel()
    asked = max(1, is_noun.size // 4)
    (at,) = jnp.nonzero(is_noun, size=asked, fill_value=is_noun.size)
    moved = model(batch["tokens"], self.look)[1]
    rows = lambda x: x.reshape(is_noun.size, -1).at[at].get(mode="clip")
    report = model.readout(rows(moved))
    which, share = _described(rows(batch["described"]), report.shape[-1] - 1)
    said = jnp.take_along_axis(jax.nn.log_softmax(report), which, axis=-1)
    weights = (at < is_noun.size).astype(said.dtype)
    count = is_noun.sum().astype(said.dtype)
    loss = -((said * share).sum(-1) * weights).sum()

    # A noun that found no place must not be left out in silence.
    return jnp.where(count > asked, jnp.nan, loss), count


def _described(described, adjectives: int):
  """The numbers of what describes each word, and their shares, ``... MOST``."""
  given = described >= 0
  rows = jnp.where(given, described, adjectives)
  # The first place of a word that nothing describes stands for that.
  counts = given.at[..., 0].set(given[..., 0] | ~given.any(-1))
  counts = counts.astype(jnp.float32)
  return rows, counts / counts.sum(-1, keepdims=True)


def _wanted(described, adjectives: int):
  """Shares of every adjective and of nothing, ``B T (adjectives + 1)``."""
  rows, share = _described(described, adjectives)
  hot = jax.nn.one_hot(rows, adjectives + 1)
  return (hot * share[..., None]).sum(-2)


def make(config: HeadConfig, words: int, adjectives: int, seed: int) -> OneHead:
  """A new model."""
  return jax.jit(lambda: OneHead(config, words, adjectives, nnx.Rngs(seed)))()
