"""Greedy search and beam search for a likely sequence of tokens."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from attnjax.ops.pytree_dataclass import pytree_dataclass
from attnjax.typing import Array, Bool, Float, Int, PyTree

__all__ = ["Hypotheses", "NextToken", "beam_search", "greedy"]


class Hypotheses(NamedTuple):
  """Results of a search: sequences, the best first where there are several.

  Args:
    tokens: int32 ``B K N`` of a beam search, ``B N`` of a greedy one; from the
      length on it is the end token.
    lengths: int32 ``B K`` (``B``), tokens before the end token; N where a
      sequence did not end in N tokens.
    scores: float32 ``B K`` (``B``), log-probability, divided by the length
      factor in a beam search; -inf where a row has fewer sequences than K.

  >>> import jax.numpy as jnp
  >>> Hypotheses(jnp.ones((2, 3)), jnp.ones(2), jnp.zeros(2)).tokens.shape
  (2, 3)
  """

  tokens: Int[Array, "*B N"]
  lengths: Int[Array, "*B"]
  scores: Float[Array, "*B"]


@pytree_dataclass
class NextToken:
  """The step of a search: a model with the memory of its source.

      (state, tokens) -> (log-probabilities of the next token, state)

  Args:
    model: has a method ``step(memory, state, tokens) -> (logits, state)``.
    memory: from ``model.encode``; the same at every step.

  >>> import jax.numpy as jnp
  >>> class Uniform:
  ...   def step(self, memory, state, tokens):
  ...     return jnp.zeros((*tokens.shape, memory)), state
  >>> from attnjax.ops.pytree_dataclass import pytree_dataclass
  >>> log, _ = NextToken(pytree_dataclass(Uniform)(), 4)(None, jnp.array([1]))
  >>> jnp.exp(log).tolist()
  [[0.25, 0.25, 0.25, 0.25]]
  """

  model: PyTree
  memory: PyTree

  def __call__(
    self, state: PyTree, tokens: Int[Array, "R"]
  ) -> tuple[Float[Array, "R V"], PyTree]:
    """(log-probabilities, state after the tokens)."""
    logits, state = self.model.step(self.memory, state, tokens)
    return jax.nn.log_softmax(logits, axis=-1), state


def greedy(
  step: Callable,
  state: PyTree,
  *,
  batch: int,
  start: int,
  end: int,
  max_length: int,
) -> Hypotheses:
  """Greedy search: the likeliest token at every step.

  Args:
    step: ``(state, tokens) -> (log-probabilities, state)``, of tokens int32
      ``B`` and log-probabilities ``B V``.
    state: of the step before the first token, any pytree.
    batch: B, rows.
    start: the first input token.
    end: the token after which a row is finished.
    max_length: N, tokens at most, the end token included.

  Returns:
    `Hypotheses` of tokens ``B N``.

  Raises:
    ValueError: if an option or the step does not fit.

  >>> import jax.numpy as jnp
  >>> count = lambda n, token: (jnp.log(jnp.eye(4)[token + 1]), n)
  >>> found = greedy(count, (), batch=1, start=0, end=3, max_length=5)
  >>> found.tokens.tolist(), found.lengths.tolist()
  ([[1, 2, 3, 3, 3]], [2])
  """
  check_search(step, state, batch, start=start, end=end, max_length=max_length)
  empty = Hypotheses(
    jnp.full((batch, max_length), end, jnp.int32),
    jnp.zeros(batch, jnp.int32),
    jnp.zeros(batch, jnp.float32),
  )

  # `while_loop` and not `scan`: it ends as soon as all rows are finished.
  def is_running(carry):
    n, _, done, *_ = carry
    return (n < max_length) & ~done.all()

  def advance(carry):
    n, token, done, state, found = carry
    log, state = step(state, token)
    # Finished rows go through the step as well, for shapes are fixed: their
    # tokens are overwritten and their scores stay.
    token = jnp.where(done, end, log.argmax(-1).astype(jnp.int32))
    gain = jnp.take_along_axis(log, token[:, None], axis=-1)[:, 0]
    scores = found.scores + jnp.where(done, 0, gain).astype(jnp.float32)
    done = done | (token == end)
    lengths = found.lengths + (~done).astype(jnp.int32)
    tokens = found.tokens.at[:, n].set(token)
    return n + 1, token, done, state, Hypotheses(tokens, lengths, scores)

  first = jnp.full(batch, start, jnp.int32)
  carry = (jnp.int32(0), first, jnp.zeros(batch, bool), state, empty)
  return jax.lax.while_loop(is_running, advance, carry)[-1]


class _Beam(NamedTuple):
  """Loop state of a beam search after n tokens."""

  n: Int[Array, ""]
  tokens: Int[Array, "B K N"]
  lengths: Int[Array, "B K"]
  total: Float[Array, "B K"]  # log-probabilities
  done: Bool[Array, "B K"]
  last: Int[Array, "B K"]
  state: PyTree


def beam_search(
  step: Callable,
  state: PyTree,
  *,
  batch: int,
  beams: int,
  start: int,
  end: int,
  max_length: int,
  length_penalty: float = 0.0,
  axis: int = 0,
) -> Hypotheses:
  """Beam search: the best K sequences, extended by a token at every step.

      score = Σ_n log p(token[n] | tokens before) / ((5 + length) / 6)^penalty

  A beam that has the end token is finished: its score is fixed, and it stays
  until K better ones exist. The search stops when all beams are finished, or at
  `max_length`. It is a pure function: jit it, with the step closed over or
  given as a pytree. A log-probability that is NaN comes out as a NaN score.

  Args:
    step: ``(state, tokens) -> (log-probabilities, state)``, of tokens int32
      ``R`` and log-probabilities ``R V``, with rows R = B K, those of one
      source side by side. `NextToken` makes one of a model.
    state: of the step before the first token, for all R rows, any pytree. Every
      step reorders it: what never changes is better a part of `step`.
    batch: B, sources.
    beams: K >= 1; 1 is greedy.
    start: the first input token.
    end: the token that finishes a sequence.
    max_length: N, tokens at most, the end token included.
    length_penalty: >= 0; 0 compares log-probabilities, more favours long ones.
      The length counts the end token.
    axis: of the rows, in every leaf of the state.

  Returns:
    `Hypotheses` of tokens ``B K N``, the best first.

  Raises:
    ValueError: if an option or the step does not fit.

  Greedy takes 1, the likelier first token; no good sequence begins with it:

  >>> import jax.numpy as jnp
  >>> table = jnp.log(jnp.array([[0, .6, .4, 0], [.34, .33, .33, 0],
  ...                            [.01, 0, 0, .99], [.25, .25, .25, .25]]))
  >>> step = lambda n, token: (table[token], n)
  >>> options = dict(batch=1, start=0, end=3, max_length=2)
  >>> [beam_search(step, (), beams=k, **options).tokens[0, 0, 0].item()
  ...  for k in (1, 2)]
  [1, 2]

  Reference:
    Sutskever, Vinyals, Le, "Sequence to Sequence Learning with Neural
    Networks", 2014, arXiv 1409.3215, section 3.2; the length penalty: Wu et
    al., 2016, arXiv 1609.08144, equation 14.
  """
  if beams < 1 or batch < 0 or not length_penalty >= 0:
    raise ValueError(
      "beam_search: needs beams >= 1, batch >= 0 and length_penalty >= 0, got"
      f" {beams}, {batch} and {length_penalty}"
    )

  rows = batch * beams
  check_search(step, state, rows, start=start, end=end, max_length=max_length)
  shape = (batch, beams)
  # At first all beams are the same empty sequence: only one is extended.
  initial = jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf)
  beam = _Beam(
    n=jnp.int32(0),
    tokens=jnp.full((*shape, max_length), end, jnp.int32),
    lengths=jnp.zeros(shape, jnp.int32),
    total=jnp.broadcast_to(initial.astype(jnp.float32)[None], shape),
    done=jnp.zeros(shape, bool),
    last=jnp.full(shape, start, jnp.int32),
    state=state,
  )

  beam = jax.lax.while_loop(
    lambda beam: (beam.n < max_length) & ~beam.done.all(),
    lambda beam: _advance(step, beam, end, length_penalty, axis),
    beam,
  )

  scores = beam.total / _factor(beam.lengths, beam.done, length_penalty)
  return Hypotheses(beam.tokens, beam.lengths, scores)


def _advance(step, beam: _Beam, end: int, penalty: float, axis: int) -> _Beam:
  """The best K of all continuations of all beams by one token."""
  batch, beams = beam.last.shape
  log, state = step(beam.state, beam.last.reshape(-1))
  # float32, for sums of log-probabilities in bfloat16 have ties.
  log = log.astype(jnp.float32).reshape((batch, beams, -1))
  vocabulary = log.shape[-1]
  ending = (jnp.arange(vocabulary) == end)[None, None]
  # A finished beam is extended by the end token, with log-probability 0.
  frozen = jnp.where(ending, 0.0, -jnp.inf)
  log = jnp.where(beam.done[..., None], frozen, log)

  total = beam.total[..., None] + log
  done = beam.done[..., None] | ending
  lengths = beam.lengths[..., None] + (~done).astype(jnp.int32)
  scores = total / _factor(lengths, done, penalty)

  # Beams are sorted, and `top_k` prefers lower indices: the better beam.
  _, index = jax.lax.top_k(scores.reshape((batch, -1)), beams)
  parent, token = index // vocabulary, (index % vocabulary).astype(jnp.int32)
  pick = lambda x: jnp.take_along_axis(x.reshape((batch, -1)), index, axis=1)

  tokens = jnp.take_along_axis(beam.tokens, parent[..., None], axis=1)
  # The row among all ``B K`` that each new beam extends.
  rows = (parent + beams * jnp.arange(batch)[:, None]).reshape(-1)

  return _Beam(
    n=beam.n + 1,
    tokens=tokens.at[:, :, beam.n].set(token),
    lengths=pick(lengths),
    total=pick(total),
    done=pick(done),
    last=token,
    state=jax.tree.map(lambda x: jnp.take(x, rows, axis=axis), state),
  )


def _factor(lengths, done, penalty: float):
  """`length_factor` of beams, counting the end token of finished ones."""
  counted = lengths + done.astype(jnp.int32)
  return length_factor(counted.astype(jnp.float32), penalty)


def length_factor(length, penalty: float):
  """The divisor of a log-probability, ((5 + n) / 6)^penalty.

  Reference:
    Wu et al., "Google's Neural Machine Translation System", 2016, arXiv
    1609.08144, equation 14, without its coverage.
  """
  return ((5 + length) / 6) ** penalty


def check_search(
  step: Callable,
  state: PyTree,
  rows: int,
  *,
  start: int,
  end: int,
  max_length: int,
) -> int:
  """Checks the options of a search; returns the vocabulary V of its step."""
  if max_length < 1:
    raise ValueError(f"search: max_length must be at least 1, got {max_length}")
  tokens = jax.ShapeDtypeStruct((rows,), jnp.int32)

  def probe(state, tokens):
    log, after = step(state, tokens)
    return log, jax.tree.leaves(after)

  # Abstract, so that the check runs no step. A wrong state would else be an
  # error of `while_loop`, which names no shape.
  log, after = jax.eval_shape(probe, state, tokens)
  if len(log.shape) != 2 or log.shape[0] != rows:
    raise ValueError(
      f"search: step must give log-probabilities of shape [{rows}, V], rows ="
      f" batch x beams, got {list(log.shape)}"
    )
  shapes = lambda leaves: [f"{x.dtype}{list(x.shape)}" for x in leaves]
  before = jax.eval_shape(jax.tree.leaves, state)
  if shapes(after) != shapes(before):
    raise ValueError(
      "search: step must give back a state of the shapes it was given, got"
      f" {shapes(after)} for {shapes(before)}"
    )
  for name, token in (("start", start), ("end", end)):
    if not 0 <= token < log.shape[1]:
      raise ValueError(
        f"search: {name} must be a token of the vocabulary of {log.shape[1]},"
        f" got {token}"
      )
  return log.shape[1]
