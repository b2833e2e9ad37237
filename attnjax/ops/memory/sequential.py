"""A memory token by token: the reference of every rule, used in decoding."""

import jax
import jax.numpy as jnp
from jax import lax

from attnjax.moved import forward_names
from attnjax.ops.memory.algorithms import orthogonalized
from attnjax.ops.memory.rule import Rule
from attnjax.ops.memory.state import MemoryState, PendingStep, RecentTokens
from attnjax.ops.memory.structures import linear_of
from attnjax.ops.memory.token_gradients import token_gradients, weighted_sum
from attnjax.typing import Array, Float

__all__ = [
  "end_chunk",
  "gradient_scales",
  "memory_output",
  "stream_tokens",
  "summed_update",
  "with_own_token",
]


def stream_tokens(
  state: MemoryState, queries: Float[Array, "T D"] | None, tokens
) -> tuple[MemoryState, Float[Array, "T E"] | None]:
  """(new state, outputs) of one head, by a scan over its tokens.

  Args:
    state: of one head.
    queries: ``T D``, or None to read nothing.
    tokens: (keys ``T D``, values ``T E``, gates, name -> ``T``).
  """

  def step(state, token):
    query, key, value, gates = token
    new = _write(state, key, value, gates)
    if query is None:
      return new, None
    read = new if state.rule.reads == "after" else state
    return new, memory_output(read, query)

  # A scan carry keeps its dtype: int32, as in a new state.
  position = jnp.asarray(state.position, jnp.int32)
  return lax.scan(step, state.replace(position=position), (queries, *tokens))


def memory_output(
  state: MemoryState, queries: Float[Array, "... D"]
) -> Float[Array, "... E"]:
  """The network of one head applied to queries, M(φ(q); link(A))."""
  rule = state.rule
  linear = linear_of(rule.retention.link(state.weights))
  return rule.structure(linear, rule.features(queries), state.gain)


def gradient_scales(rule: Rule, rates: Float[Array, " T"]):
  """Factor of each gradient in an update: its rate, or with Muon 1 or 0.

  Muon applies the rate after orthogonalisation. A rate of 0, as at padding,
  must still leave the gradient out of a sum, so the factor is its sign.
  """
  return jnp.sign(rates) if rule.algorithm.iterations else rates


def with_own_token(
  recent: RecentTokens | None,
  keys: Float[Array, "T D"],
  values: Float[Array, "T E"],
  gates: dict[str, Array],
) -> RecentTokens:
  """Appends new tokens to those that a window holds."""
  names = [name for name in ("rate", "threshold") if name in gates]
  own = RecentTokens(keys, values, {name: gates[name] for name in names})
  if recent is None:
    return own
  return jax.tree.map(lambda *x: jnp.concatenate(x), recent, own)


def _write(state: MemoryState, key, value, gates) -> MemoryState:
  """The state after one token."""
  rule, recent = state.rule, state.recent
  # With an axis of one token, as `summed_update` takes them.
  token = jax.tree.map(lambda x: x[None], (key, value, gates))
  window = with_own_token(recent, *token)
  if rule.updates == "chunk":
    # Sum up the chunk; only its last token makes a step.
    update = summed_update(rule, state.weights, window, state.gain)
    pending = PendingStep(
      jax.tree.map(jnp.add, state.pending.update, update),
      {
        name: total + gates.get(name, jnp.zeros_like(total))
        for name, total in state.pending.gates.items()
      },
    )
    ends = (state.position + 1) % rule.chunk == 0
    stepped, waiting = end_chunk(state, pending), state.replace(pending=pending)
    new = _where(ends, stepped, waiting)
    return new.replace(position=state.position + 1)

  # Where the gradient is taken: at the weights now or at the chunk's start.
  start = state.start
  if start is not None:
    begins = state.position % rule.chunk == 0
    start = _where(begins, state.weights, start)
  point = state.weights if start is None else start
  # Gated DeltaNet decays the weights before it reads them.
  if rule.decayed:
    point = _decayed(gates["decay"], point)

  update = summed_update(rule, point, window, state.gain)
  weights, momentum = _step(rule, state.weights, state.momentum, update, gates)
  return state.replace(
    weights=weights,
    momentum=momentum,
    start=start,
    recent=None if recent is None else jax.tree.map(lambda x: x[1:], window),
    position=state.position + 1,
  )


def summed_update(
  rule: Rule,
  accumulator: dict[str, Array],
  tokens: RecentTokens,
  gain: Float[Array, " E"] | None,
) -> dict[str, Array]:
  """Update -Σ θ g of some tokens; with Muon, which scales later, -Σ g."""
  gradients = token_gradients(
    rule,
    rule.retention.link(accumulator),
    tokens.keys,
    tokens.values,
    tokens.gates.get("threshold"),
    gain,
  )
  return weighted_sum(gradients, -gradient_scales(rule, tokens.gates["rate"]))


def _step(rule: Rule, weights, momentum, update, gates):
  """(A, S) after one step of the rule's algorithm."""
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

  # Only the weights decay here: momentum has its own gate.
  if rule.retention.decays:
    weights = _decayed(gates["decay"], weights)
  return jax.tree.map(jnp.add, weights, update), momentum


def end_chunk(state: MemoryState, pending: PendingStep) -> MemoryState:
  """The state after the step at the end of a chunk; position unchanged."""
  # The gates of the one step are the means over the chunk.
  means = {
    name: total / state.rule.chunk for name, total in pending.gates.items()
  }
  weights, momentum = _step(
    state.rule, state.weights, state.momentum, pending.update, means
  )
  nothing = jax.tree.map(jnp.zeros_like, pending)
  return state.replace(weights=weights, momentum=momentum, pending=nothing)


def _where(condition, one, other):
  """`jnp.where` of two trees, leaf by leaf."""
  return jax.tree.map(lambda x, y: jnp.where(condition, x, y), one, other)


def _decayed(decay, weights):
  """Weights after decay by a number, or by a number for each input feature."""
  keep = 1 - decay
  keep = keep[:, None] if keep.ndim else keep
  return {name: keep * w for name, w in weights.items()}


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
