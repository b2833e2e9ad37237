"""A head built by hand: nouns ask for adjectives in front of them.

The embedding of a word says what kind of word it is and which word:

    [is noun, is adjective | which word]

    W_q: a noun asks for "adjective", and every word a little for itself
    W_k: an adjective answers to "adjective", and every word to itself
    W_v: which word it is

ALiBi makes near words count more: it is what keeps *fluffy* from the forest.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

import attnjax
from attnjax import masks, score_mods
from attnjax.typing import Array, Float

__all__ = ["HandBuilt", "build"]

_ASKS, _SELF, _SLOPE = 16.0, 8.0, 1.5


class HandBuilt(NamedTuple):
  """The sentence before and after one head, and the head's pattern."""

  words: tuple[str, ...]
  embedding: Float[Array, "T M"]
  refined: Float[Array, "T M"]  # E' = E + A V
  weights: Float[Array, "T S"]

  def direction(self, word: str) -> Float[Array, " M"]:
    """Where in the space of embeddings a word's meaning lies."""
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
  which = jnp.eye(count)
  embedding = jnp.concatenate([kinds, which], axis=1)
  own = jnp.diag(jnp.array([0.0, 0.0, *[1.0] * count]))
  ask = jnp.zeros_like(own).at[0, 1].set(_ASKS)
  answer = jnp.zeros_like(own).at[1, 1].set(1)
  query = embedding @ (ask + _SELF * own)
  key, value = embedding @ (answer + own), embedding @ own
  head = lambda x: x[:, None, :]
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
