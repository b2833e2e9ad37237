"""How a query and a key make a logit, in numpy and in dense JAX."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from attnjax import scoring

__all__ = ["SCORINGS", "ScoringPart"]


class ScoringPart(NamedTuple):
  """One scoring, three times over.

  build makes attnjax's of the captured arrays; row takes a query ``D`` and the
  keys ``S D`` in numpy; dense takes ``*B H T D`` and ``*B H S D`` in JAX.
  Captured arrays are ``"name: axes"``, with a + before what must be positive.
  """

  build: Callable
  row: Callable
  dense: Callable
  arrays: tuple[str, ...] = ()


def _inner(query, key):
  """Every query with every key: *B H T S."""
  return jnp.einsum("...td,...sd->...ts", query, key)


def _row_dot(query, key):
  return key @ query


def _row_scaled_dot(query, key):
  return key @ query / np.sqrt(len(query))


def _dense_scaled_dot(query, key):
  return _inner(query, key) / query.shape[-1] ** 0.5


def _build_scaled_by():
  return scoring.scaled_dot(0.3)


def _row_scaled_by(query, key):
  return 0.3 * (key @ query)


def _dense_scaled_by(query, key):
  return 0.3 * _inner(query, key)


def _row_general(query, key, weight):
  return key @ (weight.T @ query)


def _dense_general(query, key, weight):
  projected = jnp.einsum("...td,de->...te", query, weight)
  return _inner(projected, key)


def _row_additive(query, key, query_weight, key_weight, vector):
  return np.tanh(query @ query_weight + key @ key_weight) @ vector


def _dense_additive(query, key, query_weight, key_weight, vector):
  q = jnp.einsum("...td,da->...ta", query, query_weight)[..., :, None, :]
  k = jnp.einsum("...sd,da->...sa", key, key_weight)[..., None, :, :]
  return jnp.einsum("...tsa,a->...ts", jnp.tanh(q + k), vector)


def _row_cosine(query, key, temperature):
  norms = np.linalg.norm(query) * np.linalg.norm(key, axis=-1)
  return key @ query / norms / temperature


def _dense_cosine(query, key, temperature):
  unit = lambda x: x / jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True))
  return _inner(unit(query), unit(key)) / temperature


def _row_gaussian(query, key, bandwidth):
  return -((key - query) ** 2).sum(-1) / (2 * bandwidth**2)


def _dense_gaussian(query, key, bandwidth):
  apart = query[..., :, None, :] - key[..., None, :, :]
  return -jnp.sum(apart * apart, axis=-1) / (2 * bandwidth * bandwidth)


def _named(name: str) -> Callable:
  """The constructor in attnjax; absent, the case that needs it says so."""

  def build(*arrays):
    return getattr(scoring, name)(*arrays)

  return build


SCORINGS = {
  "scaled_dot": ScoringPart(
    _named("scaled_dot"), _row_scaled_dot, _dense_scaled_dot
  ),
  "scaled_dot by 0.3": ScoringPart(
    _build_scaled_by, _row_scaled_by, _dense_scaled_by
  ),
  "dot": ScoringPart(_named("dot"), _row_dot, _inner),
  "general": ScoringPart(
    _named("general"), _row_general, _dense_general, ("weight: D D",)
  ),
  "additive": ScoringPart(
    _named("additive"),
    _row_additive,
    _dense_additive,
    ("query_weight: D A", "key_weight: D A", "vector: A"),
  ),
  "cosine": ScoringPart(
    _named("cosine"), _row_cosine, _dense_cosine, ("+temperature:",)
  ),
  "gaussian": ScoringPart(
    _named("gaussian"), _row_gaussian, _dense_gaussian, ("+bandwidth:",)
  ),
}
