"""What a trained head does at nouns: where it looks, what it reports."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.data import Examples
from experiments.fluffy_creature.model import OneHead, shares
from experiments.fluffy_creature.sentences import MOST

__all__ = ["Measures", "context_shift", "measure"]


class Measures(NamedTuple):
  """Of the nouns of held-out sentences, by how many adjectives they have."""

  nouns: list[int]  # nouns with 0, 1, 2, 3 adjectives
  mass: list[float]  # weight of a noun on its own adjectives
  exact: list[float]  # share of nouns that report these adjectives, no others
  later: float  # largest weight of any word on a later one
  along: float  # of described nouns: cosine of E' - E and its adjectives' sum


def measure(
  model: OneHead, examples: Examples, look: str, kind: str
) -> Measures:
  """Runs the head on every sentence, some hundred at a time."""
  run = jax.jit(_facts, static_argnames=("look", "kind"))

  parts = []
  for first in range(0, len(examples), 250):
    batch = examples[first : first + 250]
    parts.append(jax.device_get(run(model, batch, look=look, kind=kind)))

  facts = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
  is_noun, described = facts["is_noun"], facts["described"]
  groups = [is_noun & (described == n) for n in range(MOST + 1)]
  mean = lambda x, at: float(x[at].mean()) if at.any() else float("nan")

  return Measures(
    nouns=[int(at.sum()) for at in groups],
    mass=[mean(facts["mass"], at) for at in groups],
    exact=[mean(facts["exact"], at) for at in groups],
    later=float(facts["later"].max()),
    along=mean(facts["along"], is_noun & (described > 0)),
  )


def _facts(model: OneHead, batch, look: str, kind: str) -> dict:
  """Of every word: is it a noun, and what became of it."""
  tokens, places = batch["tokens"], batch["places"]
  before, after, weights = model(tokens, look)
  given = places >= 0
  at = jnp.where(given, places, 0)
  on = jnp.take_along_axis(weights, at, axis=-1)
  later = jnp.triu(weights, 1).max((-1, -2))
  # Half of what each of three adjectives is of a description.
  reported = shares(model.readout(after), kind) > 1 / (2 * MOST)
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
  """Cosine of the change of a word and the directions of its adjectives.

  The direction of an adjective is that in which its report grows: a column of
  the reader, which the head never sees.
  """
  columns = model.readout.kernel[...].T
  given = (described >= 0)[..., None]
  directions = jnp.where(given, columns[jnp.maximum(described, 0)], 0).sum(-2)
  return _cosine(change, directions)


def context_shift(
  model: OneHead, tokens: jax.Array, place: int, look: str
) -> tuple[float, float]:
  """Cosine distance of one word in two sentences, before and after the head.

  Args:
    model: the head.
    tokens: int ``2 T``, both sentences.
    place: where the word stands in both.
    look: of `LOOKS`.
  """
  before, after, _ = model(tokens, look)
  # Rounding may leave two equal directions a little closer than equal.
  apart = lambda x: max(0.0, float(1 - _cosine(x[0, place], x[1, place])))
  return apart(before), apart(after)


def _cosine(x, y):
  """Of the angle between two vectors along the last axis."""
  norms = jnp.linalg.norm(x, axis=-1) * jnp.linalg.norm(y, axis=-1)
  return (x * y).sum(-1) / jnp.maximum(norms, 1e-12)
