"""A chunk that steps once, at its end."""

import jax
import jax.numpy as jnp

from attnjax.ops.memory.gradient import factors, matrices
from attnjax.ops.memory.sequential import answer, ended_chunk, shares
from attnjax.ops.memory.state import MemoryState, Pending

__all__ = ["visit"]


def visit(state: MemoryState, chunk):
  """The state after a chunk of one head, and what was read.

  Args:
    state: before it, some of the chunk's tokens perhaps already put off.
    chunk: its tokens that are new; see `chunked.Chunk`.
  """
  rule = state.rule
  given = factors(
    rule,
    rule.retention.link(state.weights),
    chunk.keys,
    chunk.values,
    chunk.gates.get("threshold"),
  )
  update = matrices(given, -shares(rule, chunk.gates["rate"]))
  sums = {name: gate.sum() for name, gate in chunk.gates.items()}
  new = _after(state, Pending(update, sums), chunk.real[-1])
  position = state.position + chunk.real.sum(dtype=jnp.int32)
  return new.replace(position=position), _answers(state, new, chunk.queries)


def _after(state: MemoryState, new: Pending, ends) -> MemoryState:
  """The state after a chunk, or a part of one, which puts its step off."""
  held = state.pending
  if held is None:  # there are no parts
    return ended_chunk(state, new).replace(pending=None)
  pending = Pending(
    jax.tree.map(jnp.add, held.update, new.update),
    {n: total + new.gates.get(n, 0) for n, total in held.gates.items()},
  )
  return jax.tree.map(
    lambda x, y: jnp.where(ends, x, y),
    ended_chunk(state, pending),
    state.replace(pending=pending),
  )


def _answers(state: MemoryState, new: MemoryState, queries):
  """All read what the chunk found; its last token, what it left."""
  if queries is None:
    return None
  rule = state.rule
  found = answer(rule, state.weights, queries)
  if rule.reads == "before":
    return found
  last = answer(rule, new.weights, queries[-1:])
  return jnp.concatenate([found[:-1], last])
