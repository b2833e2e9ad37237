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
  held = state.pending
  pending = Pending(
    jax.tree.map(jnp.add, held.update, update),
    {
      name: total + (chunk.gates[name].sum() if name in chunk.gates else 0)
      for name, total in held.gates.items()
    },
  )
  position = state.position + chunk.real.sum(dtype=jnp.int32)
  ends = chunk.real[-1]
  new = jax.tree.map(
    lambda x, y: jnp.where(ends, x, y),
    ended_chunk(state, pending),
    state.replace(pending=pending),
  )
  new = new.replace(position=position)
  return new, _answers(state, new, chunk.queries)


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
