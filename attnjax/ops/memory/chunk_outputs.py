"""Outputs of a chunk and the state after it, from the updates of its tokens.

Where the weights are a plain sum of updates, both are computed from products of
vectors, and only the last weight matrix is formed. With a link of the
accumulator or with orthogonalised steps, each token needs a matrix of its own.
"""

import jax
import jax.numpy as jnp

from attnjax.ops.memory.algorithms import orthogonalized
from attnjax.ops.memory.recurrence import (
  ChunkCoefficients,
  decayed_inputs,
  decayed_scores,
)
from attnjax.ops.memory.state import MemoryState
from attnjax.ops.memory.structures import linear_of
from attnjax.ops.memory.token_gradients import OuterProducts, weighted_sum
from attnjax.typing import Array, Float

__all__ = ["factored_outputs", "materialized_outputs"]


def factored_outputs(
  state: MemoryState,
  coefficients: ChunkCoefficients,
  window: Float[Array, "C J"] | None,
  updates: OuterProducts,
  queries: Float[Array, "C D"] | None,
):
  """(outputs ``C E``, A, S) of one head, without a matrix for each token.

  Args:
    state: before the chunk.
    coefficients: of the chunk's gates.
    window: 1 where step i sums update j, else 0; None where step i is update i.
    updates: -θ g of each token, ``J``.
    queries: ``C D``, or None.
  """
  rule = state.rule
  summed = lambda x: x if window is None else x @ window
  read = coefficients if rule.reads == "after" else coefficients.before()
  read_updates = summed(read.updates_in_weights)

  # x A[i] = decay x A[0] + momentum x S[0] + Σ_j c[i, j] (x · a[j]) d[j].
  def linear(name, x):
    y = decayed_inputs(read, x) @ state.weights[name]
    if read.momentum_in_weights is not None:
      share = read.momentum_in_weights[:, None]
      y = y + share * (x @ state.momentum[name])
    scores = decayed_scores(read_updates, x, updates.inputs[name])
    return y + scores @ updates.cotangents[name]

  outputs = None
  if queries is not None:
    # A perceptron calls `linear` once a map, each with the inputs of that map.
    outputs = rule.structure(linear, rule.features(queries), state.gain)

  # The state after the chunk: the last row of the coefficients.
  scales = summed(coefficients.updates_in_weights)[-1]
  added = weighted_sum(updates, scales)
  kept = coefficients.weights_decay[-1]
  # By channel, each feature of the inputs keeps its share.
  kept = kept[..., None] if kept.ndim else kept
  weights = {n: kept * a + added[n] for n, a in state.weights.items()}
  share = coefficients.momentum_in_weights
  decay = coefficients.momentum_decay
  if share is None or decay is None:
    return outputs, weights, None

  last = share[-1]
  weights = {n: w + last * state.momentum[n] for n, w in weights.items()}
  added = weighted_sum(updates, summed(coefficients.updates_in_momentum)[-1])
  momentum = {n: decay[-1] * s + added[n] for n, s in state.momentum.items()}
  return outputs, weights, momentum


def materialized_outputs(
  state: MemoryState,
  coefficients: ChunkCoefficients,
  window: Float[Array, "C J"] | None,
  updates: OuterProducts,
  rate: Float[Array, " C"],
  queries: Float[Array, "C D"] | None,
):
  """(outputs ``C E``, A, S) of one head; holds C matrices a map.

  Args:
    state: before the chunk.
    coefficients: of the chunk's gates.
    window: 1 where step i sums update j, else 0; None where step i is update i.
    updates: -θ g of each token, ``J``; of Muon -g.
    rate: of each step, for those that are orthogonalised.
    queries: ``C D``, or None.
  """
  rule = state.rule
  weights, momentum = {}, {}

  for name, before in state.weights.items():
    inputs, cotangents = updates.inputs[name], updates.cotangents[name]
    steps = inputs[:, :, None] * cotangents[:, None, :]
    if window is not None:
      steps = _weighted_sums(window, steps)

    if coefficients.momentum_decay is not None:
      decay = coefficients.momentum_decay[:, None, None]
      decayed = decay * state.momentum[name][None]
      steps = decayed + _weighted_sums(coefficients.updates_in_momentum, steps)
      momentum[name] = steps[-1]

    if rule.algorithm.iterations:
      # Not linear in the updates, so that each step needs its own matrix.
      steps = orthogonalized(steps, rule.algorithm.iterations)
      steps = rate[:, None, None] * steps

    kept = coefficients.weights_decay[:, None, None] * before[None]
    weights[name] = kept + _weighted_sums(coefficients.steps_in_weights, steps)

  last = {name: a[-1] for name, a in weights.items()}
  outputs = None
  if queries is not None:
    if rule.reads == "before":
      weights = {
        name: jnp.concatenate([state.weights[name][None], a[:-1]])
        for name, a in weights.items()
      }
    # Each query is answered with the weights of its own token.
    linked = jax.vmap(rule.retention.link)(weights)
    answer = lambda w, x: rule.structure(linear_of(w), x, state.gain)
    outputs = jax.vmap(answer)(linked, rule.features(queries))

  return outputs, last, None if state.momentum is None else momentum


def _weighted_sums(coefficients, matrices):
  """Σ_j coefficients[i, j] matrices[j]."""
  return jnp.einsum("ij,jde->ide", coefficients, matrices)
