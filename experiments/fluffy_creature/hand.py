"""An attention head with weights set by hand: nouns attend to adjectives.

The embedding of a word is its kind and its identity, both one-hot:

    [is noun, is adjective | which word]

    W_q: nouns query "is adjective"; every word queries itself, less strongly
    W_k: adjectives match "is adjective"; every word matches itself
    W_v: the identity of the word

ALiBi favours near words, so that *fluffy* does not describe the forest.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

import attnjax
from attnjax import masks, score_mods
from attnjax.typing import Array, Float

__all__ = ["HandBuilt", "build"]

# Logits of an adjective and of oneself, and what ALiBi takes off a word of
# distance. A word without adjectives keeps to itself, for _SELF > 0.
_ASKS, _SELF, _SLOPE = 16.0, 8.0, 1.5


class HandBuilt(NamedTuple):
  """Embeddings before and after the head, and its attention weights."""

  words: tuple[str, ...]
  embedding: Float[Array, "T M"]
  refined: Float[Array, "T M"]  # E' = E + A V
  weights: Float[Array, "T S"]

  def direction(self, word: str) -> Float[Array, " M"]:
    """Unit vector of a word's identity, without its kind."""
    which = self.embedding[self.words.index(word)]
    return which.at[:2].set(0)


def build(
  words: Sequence[str], nouns: Sequence[int], adjectives: Sequence[int]
) -> HandBuilt:
  """Runs the head on a sentence.

  Args:
    words: all different.
    nouns: places of the nouns.
    adjectives: places of the adjectives.
  """
  count = len(words)
  kinds = jnp.zeros((count, 2)).at[jnp.array(nouns), 0].set(1)
  kinds = kinds.at[jnp.array(adjectives), 1].set(1)
  embedding = jnp.concatenate([kinds, jnp.eye(count)], axis=1)

  # Features 0 and 1 are the kinds: `own` keeps the identity alone, `ask` sends
  # "is noun" to "is adjective".
  own = jnp.diag(jnp.array([0.0, 0.0, *[1.0] * count]))
  ask = jnp.zeros_like(own).at[0, 1].set(_ASKS)
  answer = jnp.zeros_like(own).at[1, 1].set(1)
  query = embedding @ (ask + _SELF * own)
  key, value = embedding @ (answer + own), embedding @ own

  head = lambda x: x[:, None, :]  # T M -> T 1 M
  change, aux = attnjax.attend(
    head(query),
    head(key),
    head(value),
    mask=masks.causal(),
    scoring=attnjax.scoring.dot(),
    score_mod=score_mods.alibi(jnp.array([_SLOPE])),
    aux=("weights",),
  )

  return HandBuilt(
    tuple(words), embedding, embedding + change[:, 0], aux.weights[0]
  )
