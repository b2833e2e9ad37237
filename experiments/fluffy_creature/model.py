"""The one-head model and its losses: nouns report their adjectives."""

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
  """Mask rule: each query attends to the key before it alone."""
  del batch, head
  return key == query - 1


class OneHead(nnx.Module):
  """Embedding, one causal attention head with residual, and a linear readout.

      E' = E + A V,    report = E' W + b

  Distances enter by a learned relative bias, as in T5.
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
    # One class more than there are adjectives: "nothing describes this word".
    self.readout = nnx.Linear(config.width, adjectives + 1, rngs=rngs)

  def __call__(self, tokens, look: str = "head"):
    """(E, E', attention weights ``B T S``) of tokens ``B T``."""
    before = self.embed(tokens)
    mask = masks.causal()
    if look == "previous word":
      mask = masks.from_fn(_previous)

    near = None
    if look == "head":
      # Causal: no bucket is spent on words after the query.
      near = score_mods.relative_bias(
        self.distances[...], bidirectional=False, max_distance=64
      )

    change, aux = self.attention(
      before, mask=mask, score_mod=near, aux=("weights",)
    )

    return before, before + change, aux.weights[:, 0]

  def report(self, tokens, look: str = "head"):
    """Readout ``B T (adjectives + 1)``, "nothing" last."""
    return self.readout(self(tokens, look)[1])


def shares(report, kind: str):
  """Predicted share of each adjective in a word's description."""
  report = jax.nn.softmax(report) if kind == "entropy" else report
  return report[..., :-1]


@dataclasses.dataclass(frozen=True)
class Loss:
  """Squared error or cross-entropy of reports against descriptions.

  The target of a noun with k adjectives is 1/k for each of them; of other
  words, and of nouns without adjectives, it is 1 for "nothing".

  Args:
    look: kind of head, of `config.LOOKS`.
    kind: "squared", the squared error of every word's report; or "entropy",
      the cross-entropy of the softmax of nouns' reports, in nats. With
      thousands of rare adjectives a squared error has too small gradients, and
      the softmax over all of them dominates a step: nouns alone have one.
  """

  look: str
  kind: str

  def __call__(self, model: OneHead, batch: Mapping, key):
    """(summed loss, words that count); NaN if over a quarter are nouns."""
    del key  # nothing is random
    if self.kind == "entropy":
      return self._entropy(model, batch)
    report = model.report(batch["tokens"], self.look)
    wanted = _wanted(batch["described"], report.shape[-1] - 1)
    loss = jnp.square(report - wanted).sum(-1)
    weights = batch["weights"]
    return (loss * weights).sum(), weights.sum()

  def _entropy(self, model: OneHead, batch: Mapping):
    """Cross-entropy of nouns alone, gathered from the whole batch."""
    is_noun = batch["is_noun"].ravel()
    # A fixed number of places, for shapes cannot depend on the batch; a place
    # without a noun has index `is_noun.size`, which is out of bounds.
    asked = max(1, is_noun.size // 4)
    (at,) = jnp.nonzero(is_noun, size=asked, fill_value=is_noun.size)
    moved = model(batch["tokens"], self.look)[1]

    # Clipped: empty places read the last word, and weigh nothing below.
    rows = lambda x: x.reshape(is_noun.size, -1).at[at].get(mode="clip")
    report = model.readout(rows(moved))
    which, share = _described(rows(batch["described"]), report.shape[-1] - 1)
    said = jnp.take_along_axis(jax.nn.log_softmax(report), which, axis=-1)
    weights = (at < is_noun.size).astype(said.dtype)
    count = is_noun.sum().astype(said.dtype)
    loss = -((said * share).sum(-1) * weights).sum()

    # With more nouns than places some were dropped: NaN, not a wrong loss.
    return jnp.where(count > asked, jnp.nan, loss), count


def _described(described, adjectives: int):
  """Indices of the classes that describe each word; shares, ``... MOST``."""
  given = described >= 0
  rows = jnp.where(given, described, adjectives)
  # Words without adjectives: their first place is "nothing", with share 1.
  counts = given.at[..., 0].set(given[..., 0] | ~given.any(-1))
  counts = counts.astype(jnp.float32)
  return rows, counts / counts.sum(-1, keepdims=True)


def _wanted(described, adjectives: int):
  """Target shares of all classes, ``B T (adjectives + 1)``, "nothing" last."""
  rows, share = _described(described, adjectives)
  hot = jax.nn.one_hot(rows, adjectives + 1)
  return (hot * share[..., None]).sum(-2)


def make(config: HeadConfig, words: int, adjectives: int, seed: int) -> OneHead:
  """A new model."""
  return jax.jit(lambda: OneHead(config, words, adjectives, nnx.Rngs(seed)))()
