"""A chunk with a matrix for each token: where weights are no plain sum."""

import jax
import jax.numpy as jnp

from attnjax.ops.memory.algorithms import orthogonalized
from attnjax.ops.memory.gradient import Factors
from attnjax.ops.memory.response import Response
from attnjax.ops.memory.state import MemoryState
from attnjax.ops.memory.structures import held_as

__all__ = ["read_matrices"]


def read_matrices(
  state: MemoryState,
  found: Response,
  counts,
  given: Factors,
  rate,
  queries,
):
  """(answers, A, S) of a chunk of one head; it holds C matrices a map.

  Args:
    state: before the chunk.
    found: the response to one step a token.
    counts: which tokens each step looks at; None is its own.
    given: the steps as vectors.
    rate: of each step, for those that are orthogonalised.
    queries: ``C D``, or None.
  """
  rule = state.rule
  accumulators, momenta = {}, {}
  for name, before in state.weights.items():
    steps = _outer(given, name, counts)
    if state.momentum is not None:
      carried = found.momentum_kept[:, None, None] * state.momentum[name][None]
      steps = carried + _mixed(found.momentum_written, steps)
      momenta[name] = steps[-1]
    if rule.algorithm.iterations:
      turned = orthogonalized(steps, rule.algorithm.iterations)
      steps = rate[:, None, None] * turned
    kept = found.kept[:, None, None] * before[None]
    accumulators[name] = kept + _mixed(found.stepped, steps)
  last = {name: a[-1] for name, a in accumulators.items()}
  momentum = None if state.momentum is None else momenta
  return _answers(state, accumulators, queries), last, momentum


def _outer(given: Factors, name: str, counts):
  """The step of each token as a matrix, ``C I O``."""
  each = given.inputs[name][:, :, None] * given.owed[name][:, None, :]
  return each if counts is None else _mixed(counts, each)


def _mixed(shares, matrices):
  """Σ_j shares[i, j] matrices[j]."""
  return jnp.einsum("ij,jde->ide", shares, matrices)


def _answers(state: MemoryState, accumulators, queries):
  """What each query finds in the weights of its own token."""
  if queries is None:
    return None
  rule = state.rule
  if rule.reads == "before":
    accumulators = {
      name: jnp.concatenate([state.weights[name][None], a[:-1]])
      for name, a in accumulators.items()
    }
  weights = jax.vmap(rule.retention.link)(accumulators)
  features = rule.features(queries)
  one = lambda w, x: rule.structure(held_as(w), x)
  return jax.vmap(one)(weights, features)
