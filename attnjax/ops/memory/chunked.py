"""Chunk-parallel computation of a memory: the tokens of a chunk at once."""

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
    begins: bool, whether the chunk begins in this call: its first place holds a
      token, so that the weights now are those at the start of the chunk.
    offset: int32, places in front whose tokens came in an earlier call.
  """

  queries: Float[Array, "*N C D"] | None
  keys: Float[Array, "*N C D"]
  values: Float[Array, "*N C E"]
  gates: dict[str, Array]
  is_token: Bool[Array, "*N C"]
  begins: Bool[Array, "*N"]
  offset: Int[Array, "*N"]


def can_chunk(rule: Rule) -> bool:
  """Whether a rule can be computed chunk-parallel.

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
  """Scans over chunks; aligned: each begins and ends within this call.

  Then the scan need not carry the weights at a chunk's start and its pending
  step, which is most of the cost of short chunks. The next call begins with a
  chunk, too.
  """
  one_step = state.rule.updates == "chunk"
  visit = _visit_with_one_step if one_step else _visit
  # Rematerialized: the backward pass stores only the state before each chunk.
  visit = jax.checkpoint(visit)
  carry = state.replace(position=jnp.asarray(state.position, jnp.int32))
  if not aligned:
    return lax.scan(visit, carry, chunks)

  carry = carry.replace(start=None, pending=None)
  new, outputs = lax.scan(visit, carry, chunks)

  # The next call begins a chunk: its start is the weights now.
  start = None if state.start is None else new.weights
  pending = jax.tree.map(jnp.zeros_like, state.pending)
  return new.replace(start=start, pending=pending), outputs


def _into_chunks(state: MemoryState, queries, tokens) -> tuple[Chunk, PyTree]:
  """Splits tokens into padded chunks; returns the place of the first, too.

  Where gradients are taken at a chunk's start, a call may begin within a chunk;
  how far within may be known at run time only.
  """
  rule, count = state.rule, len(tokens[0])
  size = min(rule.chunk, count) if rule.gradients == "token" else rule.chunk
  # numpy where it is known, so that the number of chunks is exact.
  offset: PyTree = np.int32(0)
  if rule.gradients == "chunk":
    # Places before the offset were read by earlier calls; gradients must still
    # be those of the same chunk.
    offset = state.position % size
  # A traced offset: there must be room for the largest.
  most = int(offset) if known(offset) else size - 1
  number = -(-(count + most) // size)

  def into_chunks(x):
    # ``T ...`` as ``N C ...``, with zeros before the offset and at the end.
    blank = jnp.zeros((number * size, *x.shape[1:]), x.dtype)
    start = (offset, *(np.int32(0) for _ in x.shape[1:]))
    padded = lax.dynamic_update_slice(blank, x, start)
    return padded.reshape((number, size, *x.shape[1:]))

  keys, values, gates = jax.tree.map(into_chunks, tokens)
  queries = None if queries is None else into_chunks(queries)

  index = jnp.arange(number * size, dtype=jnp.int32).reshape(number, size)
  is_token = (index >= offset) & (index < offset + count)
  is_first = jnp.arange(number) == 0
  in_front = jnp.where(is_first, offset, 0).astype(jnp.int32)
  begins = is_token[:, 0]
  return Chunk(queries, keys, values, gates, is_token, begins, in_front), offset


def _visit(state: MemoryState, chunk: Chunk):
  """(state, outputs) after a chunk in which each token makes a step."""
  rule, gates = state.rule, chunk.gates
  start = state.start
  if start is not None:
    # A chunk that began in an earlier call keeps its start.
    choose = lambda old, new: jnp.where(chunk.begins, new, old)
    start = jax.tree.map(choose, start, state.weights)

  coefficients = chunk_coefficients(
    chunk.is_token, gates.get("decay"), gates.get("momentum"), chunk.keys.dtype
  )
  tokens = with_own_token(state.recent, chunk.keys, chunk.values, gates)
  # What is only summed up has the same gradient wherever it is taken.
  if rule.gradients == "token" and not rule.structure.solves:
    updates = _updates_at_each_token(state, coefficients, chunk)
  else:
    point = state.weights if start is None else start
    updates = _updates_at_chunk_start(rule, point, tokens, state.gain)

  # One matrix per token costs C times the memory, so only where it is needed.
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
  """(state, outputs) after a chunk, or part of one, with a step at its end."""
  tokens = with_own_token(None, chunk.keys, chunk.values, chunk.gates)
  update = summed_update(state.rule, state.weights, tokens, state.gain)
  sums = {name: gate.sum() for name, gate in chunk.gates.items()}
  step, held = PendingStep(update, sums), state.pending
  if held is None:  # the chunks are aligned: none is split between calls
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

  outputs = None
  if chunk.queries is not None:
    outputs = memory_output(state, chunk.queries)
    if state.rule.reads == "after":
      # The last token is read after its own write, which ends the chunk.
      last = memory_output(new, chunk.queries[-1:])
      outputs = jnp.concatenate([outputs[:-1], last])

  position = state.position + chunk.is_token.sum(dtype=jnp.int32)
  return new.replace(position=position), outputs


def _updates_at_chunk_start(
  rule: Rule,
  start: dict[str, Array],
  tokens: RecentTokens,
  gain: Float[Array, " E"] | None,
) -> OuterProducts:
  """Updates -θ g, all gradients at the weights at the chunk's start."""
  gradients = token_gradients(
    rule,
    rule.retention.link(start),
    tokens.keys,
    tokens.values,
    tokens.gates.get("threshold"),
    gain,
  )
  scales = -gradient_scales(rule, tokens.gates["rate"])[:, None]
  # An outer product is scaled by scaling one of its two factors.
  scaled = {name: scales * d for name, d in gradients.cotangents.items()}
  return gradients._replace(cotangents=scaled)


def _updates_at_each_token(
  state: MemoryState, coefficients: ChunkCoefficients, chunk: Chunk
) -> OuterProducts:
  """Updates -θ g, each gradient at the weights before its token."""
  # A linear structure has exactly one map.
  [(name, weights)] = state.weights.items()
  momentum = None if state.momentum is None else state.momentum[name]
  keys = state.rule.features(chunk.keys)
  rows = delta_rule_updates(
    state.rule,
    state.rule.objective.slopes or (0, 0),  # not None: `can_chunk` held
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

  None where each step is the update of its own token.
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
  """The latest tokens, which are in the window of the next one."""
  if recent is None:
    return None
  before = recent.keys.shape[0]
  count = chunk.is_token.sum(dtype=jnp.int32)
  # The last tokens that are not padding: padding in front lies between those
  # of the old window and the new ones, and is skipped.
  order = count + jnp.arange(before, dtype=jnp.int32)
  skip = jnp.where(order >= before, chunk.offset, 0)
  return jax.tree.map(lambda x: x[order + skip], tokens)
