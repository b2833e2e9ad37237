"""Saturation of the softmax over logits of random queries and keys."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

import attnjax
from attnjax import scoring

__all__ = ["SCORINGS", "Saturation", "measure"]

SCORINGS = {"unscaled": scoring.dot(), "scaled": scoring.scaled_dot()}


class Saturation(NamedTuple):
  """Measures of softmax saturation, means over queries."""

  variance: jax.Array  # of the logits
  largest: jax.Array  # weight, 1/S to 1
  entropy: jax.Array  # nats, 0 to log S
  gradient: jax.Array  # Frobenius norm of d weights / d logits


@functools.partial(jax.jit, static_argnames=("width", "keys", "queries"))
def measure(key, scores, *, width: int, keys: int, queries: int) -> Saturation:
  """Saturation for independent q, k ~ N(0, 1): Var(q · k) = D unscaled.

  Args:
    key: of the draws.
    scores: a scoring.
    width: D.
    keys: S.
    queries: how many, each with keys of its own.
  """
  # Queries stand in the batch axis, for each has keys of its own.
  of_query, of_key = jax.random.split(key)
  query = jax.random.normal(of_query, (queries, 1, 1, width))
  key = jax.random.normal(of_key, (queries, keys, 1, width))
  logits = scores(query, key[:, :, 0])[:, 0, 0]
  weights = attnjax.attention_weights(query, key, scoring=scores)[:, 0, 0]

  return Saturation(
    variance=jnp.var(logits),
    largest=weights.max(-1).mean(),
    # `entr` is 0 at a weight of 0, where -w log w would be NaN.
    entropy=jax.scipy.special.entr(weights).sum(-1).mean(),
    gradient=_gradient_norm(logits).mean(),
  )


@jax.vmap
def _gradient_norm(logits):
  """Frobenius norm of d softmax / d logits, through our attention."""

  def weights(logits):
    row = logits[None, :, None, None]
    # With query 1 and D = 1 the dot products are the keys: the logits given.
    one = jnp.ones((1, 1, 1, 1))
    found = attnjax.attention_weights(one, row, scoring=scoring.dot())
    return found[0, 0, 0]

  return jnp.linalg.norm(jax.jacfwd(weights)(logits))
