"""The memory chunk by chunk: what tokens do to each other is one product."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from attnjax.ops.integers import known
from attnjax.ops.memory import whole
from attnjax.ops.memory.exact import is_exact, written_rows
from attnjax.ops.memory.gradient import Factors, factors, matrices
from attnjax.ops.memory.matrices import read_matrices
from attnjax.ops.memory.response import Response, response
from attnjax.ops.memory.rule import Rule
from attnjax.ops.memory.sequential import shares
from attnjax.ops.memory.state import MemoryState, Recent

__all__ = ["Chunk", "can_chunk", "stream_chunks"]


class Chunk(NamedTuple):
  """Tokens of a chunk of one head; some may be padding.

  Args:
    queries: ``C D``, or None.
    keys: ``C D``.
    values: ``C E``.
    gates: name -> ``C``; 0 where there is no token.
    real: bool ``C``, which tokens there are.
    begins: whether the chunk's first place is a token of this call.
    skipped: places in front that an earlier call filled.
  """

  queries: Any
  keys: Any
  values: Any
  gates: dict
  real: Any
  begins: Any
  skipped: Any


def can_chunk(rule: Rule) -> bool:
  """Whether a chunk's tokens can be computed at once.

  >>> from attnjax.ops.memory.rule import Rule
  >>> can_chunk(Rule())
  True
  """
  return rule.gradients == "chunk" or is_exact(rule)


def stream_chunks(
  state: MemoryState, queries, tokens
) -> tuple[MemoryState, Any]:
  """One head, as `sequential.stream_tokens` does it, but sooner."""
  rule, count = state.rule, len(tokens[0])
  chunks, offset = _laid_out(state, queries, tokens)
  even = known(offset) and not offset and not count % rule.chunk
  state, found = _visited(state, chunks, even)
  if found is None:
    return state, None
  found = found.reshape((-1, found.shape[-1]))
  return state, lax.dynamic_slice_in_dim(found, offset, count)


def _visited(state: MemoryState, chunks: Chunk, even: bool):
  """All chunks in turn; even: each begins here, and ends here.

  Then what a chunk began with and what it put off need not be carried beside
  the weights, which is most of what short chunks cost; the next call begins
  with a chunk as well.
  """
  visit = whole.visit if state.rule.updates == "chunk" else _visit
  # What a chunk makes is made again for its gradient: states alone are kept.
  visit = jax.checkpoint(visit)
  held = state.replace(position=jnp.asarray(state.position, jnp.int32))
  if not even:
    return lax.scan(visit, held, chunks)
  new, found = lax.scan(visit, held.replace(start=None, pending=None), chunks)
  start = None if state.start is None else new.weights
  pending = jax.tree.map(jnp.zeros_like, state.pending)
  return new.replace(start=start, pending=pending), found


def _laid_out(state: MemoryState, queries, tokens):
  """Tokens in chunks, where earlier calls left off, and the first one's place.

  Only where a chunk's beginning means something does a call that begins within
  a chunk have to respect it; how far within may be known at run time only.
  """
  rule, count = state.rule, len(tokens[0])
  size = min(rule.chunk, count) if rule.gradients == "token" else rule.chunk
  offset: Any = np.int32(0)
  if rule.gradients == "chunk":
    offset = state.position % size
  most = int(offset) if known(offset) else size - 1
  number = -(-(count + most) // size)
  place = lambda x: _placed(x, offset, number, size)
  keys, values, gates = jax.tree.map(place, tokens)
  index = jnp.arange(number * size, dtype=jnp.int32).reshape(number, size)
  first = jnp.arange(number) == 0
  skipped = jnp.where(first, offset, 0).astype(jnp.int32)
  real = (index >= offset) & (index < offset + count)
  queries = None if queries is None else place(queries)
  begins = real[:, 0]
  return Chunk(queries, keys, values, gates, real, begins, skipped), offset


def _placed(x, offset, number: int, size: int):
  """``T ...`` as ``N C ...``, from some place on, 0 around it."""
  blank = jnp.zeros((number * size, *x.shape[1:]), x.dtype)
  start = (offset, *(np.int32(0) for _ in x.shape[1:]))
  laid = lax.dynamic_update_slice(blank, x, start)
  return laid.reshape((number, size, *x.shape[1:]))


def _visit(state: MemoryState, chunk: Chunk):
  """A chunk whose tokens step one by one."""
  rule = state.rule
  start = state.start
  if start is not None:
    new = lambda old, a: jnp.where(chunk.begins, a, old)
    start = jax.tree.map(new, start, state.weights)
  begin = state.weights if start is None else start
  gates = chunk.gates
  found = response(
    chunk.real, gates.get("decay"), gates.get("momentum"), chunk.keys.dtype
  )
  tokens, counts = _within_window(state.recent, chunk)
  if rule.gradients == "token":
    given = _exact(state, found, chunk)
  else:
    given = _stale(rule, begin, tokens)
  read = functools.partial(read_vectors, state, found, counts, given)
  if not rule.retention.is_plain or rule.algorithm.iterations:
    read = functools.partial(
      read_matrices, state, found, counts, given, chunk.gates["rate"]
    )
  answers, weights, momentum = read(chunk.queries)
  return (
    state.replace(
      weights=weights,
      momentum=momentum,
      start=start,
      recent=_latest(state.recent, tokens, chunk),
      position=state.position + chunk.real.sum(dtype=jnp.int32),
    ),
    answers,
  )


def _within_window(recent: Recent | None, chunk: Chunk):
  """All tokens that steps look at, and which of them each step does, ``C J``.

  None where each step looks at its own token.
  """
  names = [n for n in ("rate", "threshold") if n in chunk.gates]
  gates = {name: chunk.gates[name] for name in names}
  own = Recent(chunk.keys, chunk.values, gates)
  if recent is None:
    return own, None
  before = recent.keys.shape[0]
  place = jnp.arange(len(chunk.real), dtype=jnp.int32) - chunk.skipped
  places = jnp.concatenate([jnp.arange(-before, 0, dtype=jnp.int32), place])
  age = place[:, None] - places[None]
  real = jnp.concatenate([jnp.ones(before, bool), chunk.real])
  looks = (age >= 0) & (age <= before) & chunk.real[:, None] & real[None]
  tokens = jax.tree.map(lambda *x: jnp.concatenate(x), recent, own)
  return tokens, looks.astype(chunk.keys.dtype)


def _latest(recent: Recent | None, tokens: Recent, chunk: Chunk):
  """The tokens that the window of the next one has."""
  if recent is None:
    return None
  before = recent.keys.shape[0]
  count = chunk.real.sum(dtype=jnp.int32)
  order = count + jnp.arange(before, dtype=jnp.int32)  # of those there are
  skip = jnp.where(order >= before, chunk.skipped, 0)
  return jax.tree.map(lambda x: x[order + skip], tokens)


def _stale(rule: Rule, start, tokens: Recent) -> Factors:
  """Steps -θ g, all at the weights with which the chunk began."""
  given = factors(
    rule,
    rule.retention.link(start),
    tokens.keys,
    tokens.values,
    tokens.gates.get("threshold"),
  )
  count = -shares(rule, tokens.gates["rate"])[:, None]
  return given._replace(
    owed={name: count * d for name, d in given.owed.items()}
  )


def _exact(state: MemoryState, found: Response, chunk: Chunk) -> Factors:
  """Steps -θ g, each at the weights that its token finds."""
  [(name, weights)] = state.weights.items()
  momentum = None if state.momentum is None else state.momentum[name]
  keys = state.rule.features(chunk.keys)
  rows = written_rows(
    state.rule,
    state.rule.objective.slopes or (0, 0),  # `is_exact` says they are there
    found.before(),
    weights,
    momentum,
    keys,
    chunk.values,
    chunk.gates,
  )
  return Factors({name: keys}, {name: rows})


def read_vectors(
  state: MemoryState, found: Response, counts, given: Factors, queries
):
  """(answers, A, S) of a chunk, without a matrix for each token."""
  rule = state.rule
  looked = lambda x: x if counts is None else x @ counts
  seen = found if rule.reads == "after" else found.before()
  shares = looked(seen.written)

  def linear(name, x):
    y = seen.kept[:, None] * (x @ state.weights[name])
    if state.momentum is not None:
      y = y + seen.carried[:, None] * (x @ state.momentum[name])
    return y + (shares * (x @ given.inputs[name].T)) @ given.owed[name]

  answers = None
  if queries is not None:
    answers = rule.structure(linear, rule.features(queries))
  written = looked(found.written)[-1]
  added = matrices(given, written)
  weights = {n: found.kept[-1] * a + added[n] for n, a in state.weights.items()}
  if state.momentum is None:
    return answers, weights, None
  weights = {
    n: w + found.carried[-1] * state.momentum[n] for n, w in weights.items()
  }
  added = matrices(given, looked(found.momentum_written)[-1])
  momentum = {
    n: found.momentum_kept[-1] * s + added[n] for n, s in state.momentum.items()
  }
  return answers, weights, momentum
