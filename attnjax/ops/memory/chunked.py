"""A memory chunk by chunk: the tokens of a chunk are computed at once."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from attnjax.ops.integers import known
from attnjax.ops.memory.chunk_outputs import (
  factored_outputs,
  materialized_outputs,
)
from attnjax.ops.memory.recurrence import ChunkCoefficients, chunk_coefficients
from attnjax.ops.memory.rule import Rule
from attnjax.ops.memory.sequential import (
  end_chunk,
  gradient_scales,
  memory_output,
  summed_update,
  with_own_token,
)
from attnjax.ops.memory.state import MemoryState, PendingStep, RecentTokens
from attnjax.ops.memory.token_gradients import (
  OuterProducts,
  delta_rule_updates,
  has_linear_gradients,
  token_gradients,
)
from attnjax.typing import Array, Bool, Float, Int, PyTree

__all__ = ["Chunk", "can_chunk", "stream_chunks"]


class Chunk(NamedTuple):
  """Tokens of a chunk of one head, padding in front and behind included.

  A scan over chunks takes these with a leading axis of chunks.

  Args:
    queries: ``C D``, or None.
    keys: ``C D``.
    values: ``C E``.
    gates: name -> ``C``; 0 at padding.
    is_token: bool ``C``, False at padding.
    begins: bool, whether the first place holds a token of this call, so that
      the weights here are those the chunk begins with.
    offset: int32, places in front that an earlier call filled.
  """

  queries: Float[Array, "*N C D"] | None
  keys: Float[Array, "*N C D"]
  values: Float[Array, "*N C E"]
  gates: dict[str, Array]
  is_token: Bool[Array, "*N C"]
  begins: Bool[Array, "*N"]
  offset: Int[Array, "*N"]


def can_chunk(rule: Rule) -> bool:
  """Whether the tokens of a chunk can be computed at once.

  >>> from attnjax.ops.memory.rule import Rule
  >>> can_chunk(Rule())
  True
  """
  return rule.gradients == "chunk" or has_linear_gradients(rule)


def stream_chunks(
  state: MemoryState, queries: Float[Array, "T D"] | None, tokens
) -> tuple[MemoryState, Float[Array, "T E"] | None]:
  """(new state, outputs) of one head, by a scan over its chunks.

  The arguments and the result are those of `sequential.stream_tokens`.
  """
  rule, count = state.rule, len(tokens[0])
  chunks, offset = _into_chunks(state, queries, tokens)
  aligned = known(offset) and not offset and not count % rule.chunk
  state, outputs = _scan_chunks(state, chunks, aligned)
  if outputs is None:
    return state, None
  outputs = outputs.reshape((-1, outputs.shape[-1]))
  return state, lax.dynamic_slice_in_dim(outputs, offset, count)


def _scan_chunks(state: MemoryState, chunks: Chunk, aligned: bool):
  """All chunks in turn; aligned: each begins and ends within this call.

  Then the weights at a chunk's start and its pending step need not be carried
  beside the weights, which is most of what short chunks cost; the next call
  begins with a chunk as well.
  """
  one_step = state.rule.updates == "chunk"
  visit = _visit_with_one_step if one_step else _visit
  # The backward pass computes a chunk again: only states are stored.
  visit = jax.checkpoint(visit)
  held = state.replace(position=jnp.asarray(state.position, jnp.int32))
  if not aligned:
    return lax.scan(visit, held, chunks)

  bare = held.replace(start=None, pending=None)
  new, outputs = lax.scan(visit, bare, chunks)
  # The next call begins a chunk, with the weights of now and nothing pending.
  start = None if state.start is None else new.weights
  pending = jax.tree.map(jnp.zeros_like, state.pending)
  return new.replace(start=start, pending=pending), outputs


def _into_chunks(state: MemoryState, queries, tokens) -> tuple[Chunk, PyTree]:
  """Tokens in chunks, padded, and the place of the first token.

  Where gradients are taken at a chunk's start, a call that begins within a
  chunk goes on with it; how far within may be known at run time only.
  """
  rule, count = state.rule, len(tokens[0])
  size = min(rule.chunk, count) if rule.gradients == "token" else rule.chunk
  # Of numpy while it is known: then the number of chunks is exact.
  offset: PyTree = np.int32(0)
  if rule.gradients == "chunk":
    offset = state.position % size
  # Else there is room for the worst case.
  most = int(offset) if known(offset) else size - 1
  number = -(-(count + most) // size)

  place = lambda x: _at_offset(x, offset, number, size)
  keys, values, gates = jax.tree.map(place, tokens)
  queries = None if queries is None else place(queries)

  index = jnp.arange(number * size, dtype=jnp.int32).reshape(number, size)
  is_token = (index >= offset) & (index < offset + count)
  is_first = jnp.arange(number) == 0
  in_front = jnp.where(is_first, offset, 0).astype(jnp.int32)
  begins = is_token[:, 0]
  return Chunk(queries, keys, values, gates, is_token, begins, in_front), offset


def _at_offset(x, offset, number: int, size: int):
  """``T ...`` as ``N C ...``, with zeros before the offset and at the end."""
  blank = jnp.zeros((number * size, *x.shape[1:]), x.dtype)
  start = (offset, *(np.int32(0) for _ in x.shape[1:]))
  padded = lax.dynamic_update_slice(blank, x, start)
  return padded.reshape((number, size, *x.shape[1:]))


def _visit(state: MemoryState, chunk: Chunk):
  """(state, outputs) after a chunk whose tokens make a step each."""
  rule, gates = state.rule, chunk.gates
  start = state.start
  if start is not None:
    # Only a chunk that begins here takes the weights of here.
    choose = lambda old, a: jnp.where(chunk.begins, a, old)
    start = jax.tree.map(choose, start, state.weights)

  coefficients = chunk_coefficients(
    chunk.is_token, gates.get("decay"), gates.get("momentum"), chunk.keys.dtype
  )
  tokens = with_own_token(state.recent, chunk.keys, chunk.values, gates)
  if rule.gradients == "token":
    updates = _updates_at_each_token(state, coefficients, chunk)
  else:
    point = state.weights if start is None else start
    updates = _updates_at_chunk_start(rule, point, tokens)

  # C matrices a map cost C times the memory: only where they are needed.
  window = _window_matrix(state.recent, chunk)
  if rule.retention.is_plain and not rule.algorithm.iterations:
    outputs, weights, momentum = factored_outputs(
      state, coefficients, window, updates, chunk.queries
    )
  else:
    outputs, weights, momentum = materialized_outputs(
      state, coefficients, window, updates, gates["rate"], chunk.queries
    )

  new = state.replace(
    weights=weights,
    momentum=momentum,
    start=start,
    recent=_latest(state.recent, tokens, chunk),
    position=state.position + chunk.is_token.sum(dtype=jnp.int32),
  )
  return new, outputs


def _visit_with_one_step(state: MemoryState, chunk: Chunk):
  """(state, outputs) after a chunk, or a part of one, that steps at its end."""
  tokens = with_own_token(None, chunk.keys, chunk.values, chunk.gates)
  update = summed_update(state.rule, state.weights, tokens)
  sums = {name: gate.sum() for name, gate in chunk.gates.items()}
  step, held = PendingStep(update, sums), state.pending
  if held is None:  # chunks are whole, none is pending
    new = end_chunk(state, step).replace(pending=None)
  else:
    step = PendingStep(
      jax.tree.map(jnp.add, held.update, update),
      {n: total + sums.get(n, 0) for n, total in held.gates.items()},
    )
    ends = chunk.is_token[-1]
    new = jax.tree.map(
      lambda x, y: jnp.where(ends, x, y),
      end_chunk(state, step),
      state.replace(pending=step),
    )

  outputs = _outputs_around_one_step(state, new, chunk.queries)
  position = state.position + chunk.is_token.sum(dtype=jnp.int32)
  return new.replace(position=position), outputs


def _outputs_around_one_step(state: MemoryState, new: MemoryState, queries):
  """Outputs with the weights before the step; of the last token, after it."""
  if queries is None:
    return None
  rule = state.rule
  outputs = memory_output(rule, state.weights, queries)
  if rule.reads == "before":
    return outputs
  last = memory_output(rule, new.weights, queries[-1:])
  return jnp.concatenate([outputs[:-1], last])


def _updates_at_chunk_start(
  rule: Rule, start: dict[str, Array], tokens: RecentTokens
) -> OuterProducts:
  """Updates -θ g, all at the weights with which the chunk began."""
  gradients = token_gradients(
    rule,
    rule.retention.link(start),
    tokens.keys,
    tokens.values,
    tokens.gates.get("threshold"),
  )
  scales = -gradient_scales(rule, tokens.gates["rate"])[:, None]
  # The scale goes to one of the two factors.
  scaled = {name: scales * d for name, d in gradients.cotangents.items()}
  return gradients._replace(cotangents=scaled)


def _updates_at_each_token(
  state: MemoryState, coefficients: ChunkCoefficients, chunk: Chunk
) -> OuterProducts:
  """Updates -θ g, each at the weights that its token finds."""
  # A linear structure has one map.
  [(name, weights)] = state.weights.items()
  momentum = None if state.momentum is None else state.momentum[name]
  keys = state.rule.features(chunk.keys)
  rows = delta_rule_updates(
    state.rule,
    state.rule.objective.slopes or (0, 0),  # `can_chunk`: they are there
    coefficients.before(),
    weights,
    momentum,
    keys,
    chunk.values,
    chunk.gates,
  )
  return OuterProducts({name: keys}, {name: rows})


def _window_matrix(recent: RecentTokens | None, chunk: Chunk):
  """``C J``: 1 where the step of token i sums the update of token j, else 0.

  None where each step has its own update alone.
  """
  if recent is None:
    return None
  before = recent.keys.shape[0]
  place = jnp.arange(len(chunk.is_token), dtype=jnp.int32) - chunk.offset
  places = jnp.concatenate([jnp.arange(-before, 0, dtype=jnp.int32), place])
  age = place[:, None] - places[None]

  is_token = jnp.concatenate([jnp.ones(before, bool), chunk.is_token])
  both = chunk.is_token[:, None] & is_token[None]
  return ((age >= 0) & (age <= before) & both).astype(chunk.keys.dtype)


def _latest(recent: RecentTokens | None, tokens: RecentTokens, chunk: Chunk):
  """The tokens that are in the window of the next one."""
  if recent is None:
    return None
  before = recent.keys.shape[0]
  count = chunk.is_token.sum(dtype=jnp.int32)
  # Of the tokens without padding, the last; padding in front is stepped over.
  order = count + jnp.arange(before, dtype=jnp.int32)
  skip = jnp.where(order >= before, chunk.offset, 0)
  return jax.tree.map(lambda x: x[order + skip], tokens)
