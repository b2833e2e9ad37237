"""Sequences that a search found, and what asks a model for the next token."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from attnjax.ops.node import node
from attnjax.typing import Array, Float, Int, PyTree

__all__ = ["Hypotheses", "NextToken", "check_search", "length_factor"]


class Hypotheses(NamedTuple):
  """Sequences found, best first where there are several.

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


@node
class NextToken:
  """A model that has read a source, as the searches call it.

      (state, tokens) -> (log-probabilities of the next token, state)

  Args:
    model: has ``step(memory, state, tokens) -> (logits, state)``.
    memory: from ``model.encode``; the same at every step.

  >>> import jax.numpy as jnp
  >>> class Uniform:
  ...   def step(self, memory, state, tokens):
  ...     return jnp.zeros((*tokens.shape, memory)), state
  >>> from attnjax.ops.node import node
  >>> log, _ = NextToken(node(Uniform)(), 4)(None, jnp.array([1]))
  >>> jnp.exp(log).tolist()
  [[0.25, 0.25, 0.25, 0.25]]
  """

  model: Any
  memory: Any

  def __call__(
    self, state: PyTree, tokens: Int[Array, "R"]
  ) -> tuple[Float[Array, "R V"], PyTree]:
    """Log-probabilities and the state that has read the tokens."""
    logits, state = self.model.step(self.memory, state, tokens)
    return jax.nn.log_softmax(logits, axis=-1), state


def length_factor(length, penalty: float):
  """What a log-probability is divided by, ((5 + n) / 6)^penalty.

  >>> import jax.numpy as jnp
  >>> length_factor(jnp.float32(7), 1.0).item()
  2.0

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
  """The vocabulary V that a step speaks; raises if the options do not fit."""
  if max_length < 1:
    raise ValueError(f"search: max_length must be at least 1, got {max_length}")
  tokens = jax.ShapeDtypeStruct((rows,), jnp.int32)

  def probe(state, tokens):
    log, after = step(state, tokens)
    return log, jax.tree.leaves(after)

  log, after = jax.eval_shape(probe, state, tokens)
  if len(log.shape) != 2 or log.shape[0] != rows:
    raise ValueError(
      f"search: step must give log-probabilities of shape [{rows}, V], rows ="
      f" batch x beams, got {list(log.shape)}"
    )
  form = lambda leaves: [f"{x.dtype}{list(x.shape)}" for x in leaves]
  before = jax.eval_shape(jax.tree.leaves, state)
  if form(after) != form(before):
    raise ValueError(
      "search: step must give back a state of the shapes it was given, got"
      f" {form(after)} for {form(before)}"
    )
  for name, token in (("start", start), ("end", end)):
    if not 0 <= token < log.shape[1]:
      raise ValueError(
        f"search: {name} must be a token of the vocabulary of {log.shape[1]},"
        f" got {token}"
      )
  return log.shape[1]
