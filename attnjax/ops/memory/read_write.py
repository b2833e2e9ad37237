"""`write`, `read` and `stream`: the operations on a memory state."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from attnjax.ops.memory import chunked, sequential
from attnjax.ops.memory.gates import Gates, check_gates
from attnjax.ops.memory.state import MemoryState, compute_dtype, for_compute
from attnjax.ops.value_checks import poison
from attnjax.typing import Array, Float

__all__ = ["read", "stream", "write"]

# Up to this many tokens, as in decoding, a loop is faster than a chunk.
_FEW = 4
_IMPLEMENTATIONS: dict[str, Callable] = {
  "chunked": chunked.stream_chunks,
  "sequential": sequential.stream_tokens,
}


def stream(
  state: MemoryState,
  query: Float[Array, "*B T H D"],
  key: Float[Array, "*B T H D"],
  value: Float[Array, "*B T H E"],
  gates: Gates,
  *,
  implementation: str | None = None,
) -> tuple[MemoryState, Float[Array, "*B T H E"]]:
  """Writes a sequence into a memory and reads an output at each token.

      W[t] = write(W[t-1], key[t], value[t]),   out[t] = M(query[t]; W[t])

  or M(query[t]; W[t-1]) where `rule.reads` is "before". In both cases outputs
  are causal. The state may come from an earlier call: a sequence in parts, or a
  token at a time, gives the same outputs as one call.

  Args:
    state: weights and counters; see `init`.
    query: ``*B T H D``.
    key: ``*B T H D``.
    value: ``*B T H E``.
    gates: each ``*B T H``, or as `Gates` says.
    implementation: "chunked", the tokens of a chunk at once; "sequential", a
      loop over tokens, which computes every rule; None: the first where the
      rule allows it and there are more than 4 tokens.

  Returns:
    (the state after the last token, ``*B T H E`` in the value's dtype). Both
    are NaN in a head that has, at run time, a gate out of range.

  Raises:
    ValueError: arrays that do not fit each other or the state; gates that are
      missing, not used by the rule, or known to be out of range.
    NotImplementedError: "chunked" for a rule whose gradients at each token are
      not linear in the updates before.

  >>> import jax.numpy as jnp
  >>> from attnjax import memory
  >>> state = memory.init(memory.delta_net(), (), heads=1, width=2)
  >>> x = jnp.eye(2)[:, None]  # two tokens, one head
  >>> gates = memory.Gates(rate=jnp.ones((2, 1)))
  >>> state, out = memory.stream(state, x, x, 3 * x, gates)
  >>> out[:, 0].tolist()
  [[3.0, 0.0], [0.0, 3.0]]

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans: Learning to Memorize at Test Time", 2025,
    arXiv 2501.00663, section 3.2.
  """
  return _run(state, query, key, value, gates, implementation)


def write(
  state: MemoryState,
  key: Float[Array, "*B T H D"],
  value: Float[Array, "*B T H E"],
  gates: Gates,
  *,
  implementation: str | None = None,
) -> MemoryState:
  """Writes a sequence into a memory: `stream` without queries.

  Args:
    state: weights and counters; see `init`.
    key: ``*B T H D``.
    value: ``*B T H E``.
    gates: each ``*B T H``.
    implementation: see `stream`.

  Returns:
    The state after the last token.

  Raises:
    ValueError: as `stream`.
    NotImplementedError: as `stream`.

  >>> import jax.numpy as jnp
  >>> from attnjax import memory
  >>> state = memory.init(memory.delta_net(), (), heads=1, width=2)
  >>> x = jnp.array([[[1.0, 0.0]]])
  >>> state = memory.write(state, x, x, memory.Gates(jnp.ones((1, 1))))
  >>> memory.read(state, x).tolist(), int(state.position)
  ([[[1.0, 0.0]]], 1)
  """
  return _run(state, None, key, value, gates, implementation)[0]


def read(
  state: MemoryState, query: Float[Array, "*B T H D"]
) -> Float[Array, "*B T H E"]:
  """Applies the network of a memory to queries, without writing.

      out[t] = M(query[t]; W)

  Args:
    state: weights and counters; see `init`.
    query: ``*B T H D``.

  Returns:
    ``*B T H E``.

  Raises:
    ValueError: if the queries do not fit the state.

  >>> import jax.numpy as jnp
  >>> from attnjax import memory
  >>> state = memory.init(memory.delta_net(), (), heads=1, width=2)
  >>> memory.read(state, jnp.ones((3, 1, 2))).shape
  (3, 1, 2)

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans", 2025, arXiv 2501.00663, equation 15.
  """
  _check_shapes(state, {"query": query})
  dtype = compute_dtype(state, query)
  one_head = sequential.memory_output
  axes = _head_axes(state)
  for _ in state.lead:
    one_head = jax.vmap(one_head, in_axes=(axes, 0))

  with jax.named_scope("memory"):
    held = for_compute(state, dtype)
    out = one_head(held, _heads_first(query.astype(dtype)))
  return _heads_last(out).astype(query.dtype)


def _run(state, query, key, value, gates, implementation):
  """(new state, outputs or None) of a sequence, vmapped over rows and heads."""
  arrays = {"key": key, "value": value}
  _check_shapes(state, arrays if query is None else {"query": query} | arrays)
  used, out_of_range = check_gates(state.rule, gates, key.shape)
  if state.rule.algorithm.dampened:
    # A dampened step is a plain one of a smaller rate, in every form.
    used["rate"] = used["rate"] * (1 - used["momentum"])
  count = key.shape[-3]
  one_head = _implementation(state, count, implementation)
  # int32 with x64, too. A numpy position stays numpy, so that the next call
  # knows where chunks begin while it is traced.
  position = (state.position + count).astype(jnp.int32)
  if not key.size:
    empty = None if query is None else jnp.zeros_like(value)
    return state.replace(position=position), empty

  # ``*B H T ...``: the axes before T are vmapped.
  dtype = compute_dtype(state, query, key, value, *used.values())
  per_head = lambda x: None if x is None else _heads_first(x.astype(dtype))
  tokens = (
    per_head(key),
    per_head(value),
    {n: _gate_heads_first(x.astype(dtype), key) for n, x in used.items()},
  )
  axes = _head_axes(state)
  for _ in state.lead:
    one_head = jax.vmap(one_head, in_axes=(axes, 0, 0), out_axes=(axes, 0))

  with jax.named_scope("memory"):
    old = for_compute(state, dtype, query, *jax.tree.leaves(tokens))
    new, out = one_head(old, per_head(query), tokens)

  # The state keeps its dtype, so that a loop may carry it.
  new = jax.tree.map(lambda x, old: x.astype(old.dtype), new, state)

  # The state of a head with a gate out of range is wrong from here on.
  if out_of_range is not None:
    heads = out_of_range.any(-2)
    new = poison(new.replace(position=None), heads)
    out = poison(out, heads)
  new = new.replace(position=position)
  return new, None if out is None else _heads_last(out).astype(value.dtype)


def _head_axes(state: MemoryState) -> MemoryState:
  """The axis of each array to vmap rows and heads over; none of position."""
  return jax.tree.map(lambda _: 0, state).replace(position=None)


def _implementation(
  state: MemoryState, count: int, name: str | None
) -> Callable:
  """The implementation to use for `count` tokens."""
  able = chunked.can_chunk(state.rule)
  if name is None:
    name = "chunked" if able and count > _FEW else "sequential"

  if name not in _IMPLEMENTATIONS:
    raise ValueError(
      f"memory: implementation must be one of {sorted(_IMPLEMENTATIONS)} or"
      f" None, got {name!r}"
    )
  if name == "chunked" and not able:
    raise NotImplementedError(
      "memory: 'chunked' computes gradients='token' for a matrix that descends"
      " l2 or dot, with plain retention and steps and a window of 1; take"
      " gradients='chunk', or 'sequential', which computes every rule"
    )
  return _IMPLEMENTATIONS[name]


def _check_shapes(state: MemoryState, arrays: dict[str, Array]) -> None:
  """Raises ValueError if arrays do not fit each other or the state."""
  rule, lead = state.rule, state.lead
  first = next(iter(arrays.values()))
  for name, x in arrays.items():
    like = (*lead[:-1], first.shape[-3], lead[-1]) if first.ndim > 2 else ()
    if x.ndim != len(lead) + 2 or x.shape[:-1] != like:
      raise ValueError(
        f"memory: {name} must be '*B T H ...' with *B and H = {list(lead)} of"
        f" the state and one T for all, got the shape {list(x.shape)}"
      )

  # `read` has no values: then E is the output width of the last map, by the
  # order of the structure, because a pytree sorts names.
  last_map = list(rule.structure.shapes(1, 1))[-1]
  widths = {name: x.shape[-1] for name, x in arrays.items()}
  width = widths["key"] if "key" in widths else widths["query"]
  value_width = widths.get("value", state.weights[last_map].shape[-1])

  shapes = {name: tuple(w.shape[-2:]) for name, w in state.weights.items()}
  expected = rule.structure.shapes(rule.features.width(width), value_width)
  if widths.get("query", width) != width or expected != shapes:
    raise ValueError(
      f"memory: the state has maps of the sizes {shapes}; arrays of the widths"
      f" {widths} need {expected}; make the state with memory.init of the same"
      " rule and widths"
    )


def _gate_heads_first(x, key):
  """``*B T H`` or, by channel, ``*B T H D``, with H before T."""
  return _heads_first(x) if x.ndim == key.ndim else jnp.swapaxes(x, -1, -2)


_heads_first = functools.partial(jnp.moveaxis, source=-3, destination=-2)
_heads_last = functools.partial(jnp.moveaxis, source=-2, destination=-3)
