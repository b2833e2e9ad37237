"""Measures of a trained head at nouns: attention mass, accuracy, direction."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.data import Examples
from experiments.fluffy_creature.model import OneHead, shares
from experiments.fluffy_creature.sentences import MOST

__all__ = ["Measures", "context_shift", "measure"]


class Measures(NamedTuple):
  """Measures of held-out nouns, grouped by their number of adjectives."""

  nouns: list[int]  # nouns with 0, 1, 2, 3 adjectives
  mass: list[float]  # weight of a noun on its own adjectives
  exact: list[float]  # share of nouns that report these adjectives, no others
  later: float  # largest weight of any word on a later one
  along: float  # of described nouns: cosine of E' - E and its adjectives' sum


def measure(
  model: OneHead, examples: Examples, look: str, kind: str
) -> Measures:
  """Measures a head on every sentence, in batches of 250.

  Args:
    model: the head.
    examples: held-out sentences.
    look: kind of head, of `config.LOOKS`.
    kind: of loss that it was trained with.
  """
  run = jax.jit(_facts, static_argnames=("look", "kind"))

  parts = []
  for first in range(0, len(examples), 250):
    batch = examples[first : first + 250]
    parts.append(jax.device_get(run(model, batch, look=look, kind=kind)))

  facts = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
  is_noun, described = facts["is_noun"], facts["described"]
  groups = [is_noun & (described == n) for n in range(MOST + 1)]
  # NaN, not 0, where a group has no noun.
  mean = lambda x, at: float(x[at].mean()) if at.any() else float("nan")

  return Measures(
    nouns=[int(at.sum()) for at in groups],
    mass=[mean(facts["mass"], at) for at in groups],
    exact=[mean(facts["exact"], at) for at in groups],
    later=float(facts["later"].max()),
    along=mean(facts["along"], is_noun & (described > 0)),
  )


def _facts(model: OneHead, batch, look: str, kind: str) -> dict:
  """Measures of every word of a batch, ``B T`` each; `later` is ``B``."""
  tokens, places = batch["tokens"], batch["places"]
  before, after, weights = model(tokens, look)
  given = places >= 0
  at = jnp.where(given, places, 0)
  on = jnp.take_along_axis(weights, at, axis=-1)
  # Above the diagonal are keys after their query: 0 of a causal head.
  later = jnp.triu(weights, 1).max((-1, -2))
  # Half the share of each of MOST adjectives; of fewer each has more.
  reported = shares(model.readout(after), kind) > 1 / (2 * MOST)
  # `one_hot` of a number past the last class is a row of zeros.
  rows = jnp.where(given, batch["described"], reported.shape[-1])
  wanted = jax.nn.one_hot(rows, reported.shape[-1], dtype=bool).any(-2)

  return {
    "is_noun": batch["is_noun"],
    "described": given.sum(-1),
    "mass": jnp.where(given, on, 0).sum(-1),
    "exact": (reported == wanted).all(-1),
    "later": later,
    "along": _along(model, after - before, batch["described"]),
  }


def _along(model: OneHead, change, described):
  """Cosine of E' - E and the summed directions of a word's adjectives, ``B T``.

  The direction of an adjective is its column of the readout.
  """
  columns = model.readout.kernel[...].T
  given = (described >= 0)[..., None]
  directions = jnp.where(given, columns[jnp.maximum(described, 0)], 0).sum(-2)
  return _cosine(change, directions)


def context_shift(
  model: OneHead, tokens: jax.Array, place: int, look: str
) -> tuple[float, float]:
  """Cosine distances of one word in two contexts, before and after the head.

  Args:
    model: the head.
    tokens: int ``2 T``, both sentences.
    place: where the word stands in both.
    look: of `LOOKS`.
  """
  before, after, _ = model(tokens, look)
  # By rounding the cosine of equal directions may exceed 1.
  apart = lambda x: max(0.0, float(1 - _cosine(x[0, place], x[1, place])))
  return apart(before), apart(after)


def _cosine(x, y):
  """Cosine similarity along the last axis; 0 where a vector is 0."""
  norms = jnp.linalg.norm(x, axis=-1) * jnp.linalg.norm(y, axis=-1)
  return (x * y).sum(-1) / jnp.maximum(norms, 1e-12)
