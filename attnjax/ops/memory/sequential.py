"""The memory token by token: what it means, and the way to decode."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from attnjax.ops.memory.algorithms import orthogonalized
from attnjax.ops.memory.gradient import factors, matrices
from attnjax.ops.memory.rule import Rule
from attnjax.ops.memory.state import MemoryState, Pending, Recent
from attnjax.ops.memory.structures import held_as

__all__ = ["answer", "stepped", "stream_tokens"]


def stream_tokens(
  state: MemoryState, queries, tokens
) -> tuple[MemoryState, Any]:
  """One head: each token writes, and is read by its query.

  Args:
    state: of one head.
    queries: ``T D``, or None to read nothing.
    tokens: (keys ``T D``, values ``T E``, gates, name -> ``T``).
  """

  def step(state, token):
    query, key, value, gates = token
    new = _write(state, key, value, gates)
    read = new if state.rule.reads == "after" else state
    found = None if query is None else answer(read.rule, read.weights, query)
    return new, found

  position = jnp.asarray(state.position, jnp.int32)
  return lax.scan(step, state.replace(position=position), (queries, *tokens))


def answer(rule: Rule, accumulator: dict, queries):
  """What a memory of one head says to queries ``... D``."""
  linear = held_as(rule.retention.link(accumulator))
  return rule.structure(linear, rule.features(queries))


def _write(state: MemoryState, key, value, gates) -> MemoryState:
  """One token more."""
  rule = state.rule
  if rule.updates == "chunk":
    return _put_off(state, key, value, gates)
  start = state.start
  if start is not None:
    begins = state.position % rule.chunk == 0
    start = _where(begins, state.weights, start)
  point = state.weights if start is None else start
  if rule.decayed:
    point = _times(1 - gates["decay"], point)
  window = _window(state.recent, key, value, gates)
  update = _gradient(rule, point, window)
  weights, momentum = stepped(
    rule, state.weights, state.momentum, update, gates
  )
  recent = state.recent
  if recent is not None:
    recent = jax.tree.map(lambda x: x[1:], window)
  return state.replace(
    weights=weights,
    momentum=momentum,
    start=start,
    recent=recent,
    position=state.position + 1,
  )


def _window(recent: Recent | None, key, value, gates) -> Recent:
  """The tokens that a step looks at, its own last."""
  names = [name for name in ("rate", "threshold") if name in gates]
  own = Recent(key, value, {name: gates[name] for name in names})
  own = jax.tree.map(lambda x: x[None], own)
  if recent is None:
    return own
  return jax.tree.map(lambda *x: jnp.concatenate(x), recent, own)


def _gradient(rule: Rule, accumulator, tokens: Recent) -> dict:
  """-Σ θ g of some tokens; of Muon, which has its rate elsewhere, -Σ g."""
  given = factors(
    rule,
    rule.retention.link(accumulator),
    tokens.keys,
    tokens.values,
    tokens.gates.get("threshold"),
  )
  return matrices(given, -shares(rule, tokens.gates["rate"]))


def shares(rule: Rule, rates):
  """What each gradient counts in a sum."""
  # With Muon a rate of 0 still marks what is no token, or one not to learn.
  return jnp.sign(rates) if rule.algorithm.iterations else rates


def stepped(rule: Rule, weights, momentum, update, gates):
  """(A, S) after a step along an update."""
  if momentum is not None:
    update = jax.tree.map(
      lambda s, u: gates["momentum"] * s + u, momentum, update
    )
    momentum = update
  if rule.algorithm.iterations:
    update = {
      name: gates["rate"] * orthogonalized(u, rule.algorithm.iterations)
      for name, u in update.items()
    }
  if rule.retention.decays:
    weights = _times(1 - gates["decay"], weights)
  return jax.tree.map(jnp.add, weights, update), momentum


def _put_off(state: MemoryState, key, value, gates) -> MemoryState:
  """One token more of a chunk that steps when it ends."""
  rule, held = state.rule, state.pending
  update = _gradient(rule, state.weights, _window(None, key, value, gates))
  pending = Pending(
    jax.tree.map(jnp.add, held.update, update),
    {
      name: total + gates.get(name, jnp.zeros_like(total))
      for name, total in held.gates.items()
    },
  )
  ended = ended_chunk(state, pending)
  ends = (state.position + 1) % rule.chunk == 0
  going_on = state.replace(pending=pending)
  return _where(ends, ended, going_on).replace(position=state.position + 1)


def ended_chunk(state: MemoryState, pending: Pending) -> MemoryState:
  """The state after the step at the end of a chunk; its position stays."""
  means = {
    name: total / state.rule.chunk for name, total in pending.gates.items()
  }
  weights, momentum = stepped(
    state.rule, state.weights, state.momentum, pending.update, means
  )
  nothing = jax.tree.map(jnp.zeros_like, pending)
  return state.replace(weights=weights, momentum=momentum, pending=nothing)


def _where(condition, one, other):
  """One of two trees."""
  return jax.tree.map(lambda x, y: jnp.where(condition, x, y), one, other)


def _times(number, tree):
  return jax.tree.map(lambda x: number * x, tree)
