"""`write`, `read` and `stream`: what is done with a memory."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnjax.ops.known import poison
from attnjax.ops.memory import chunked, sequential
from attnjax.ops.memory.gates import Gates, checked
from attnjax.ops.memory.raised import raised, wide
from attnjax.ops.memory.state import MemoryState
from attnjax.typing import Array, Float

__all__ = ["read", "stream", "write"]

# So few tokens are read sooner one by one than as a chunk of padding.
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
  """Reads a sequence into a memory, and answers each token on the way.

      W[t] = write(W[t-1], key[t], value[t]),   out[t] = M(query[t]; W[t])

  or M(query[t]; W[t-1]) where `rule.reads` is "before". Either way an answer
  depends on no later token. The state may come from an earlier call: a sequence
  in parts, or a token at a time, gives what it gives at once.

  Args:
    state: what the memory knows; see `init`.
    query: ``*B T H D``.
    key: ``*B T H D``.
    value: ``*B T H E``.
    gates: each ``*B T H``.
    implementation: "chunked", the tokens of a chunk at once; "sequential", a
      loop over tokens, which computes every rule; None: the first where the
      rule allows it and there is more than a token or two.

  Returns:
    (the state after the last token, ``*B T H E`` in the value's dtype). Of a
    head with a gate that turns out at run time to be out of range both are NaN.

  Raises:
    ValueError: arrays that do not fit each other or the state; gates that are
      missing, are of no use, or are known to be out of range.
    NotImplementedError: "chunked" for a rule whose gradients depend on each
      other in no linear way.

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
  """The state after reading a sequence; see `stream`, which also answers.

  Args:
    state: what the memory knows.
    key: ``*B T H D``.
    value: ``*B T H E``.
    gates: each ``*B T H``.
    implementation: see `stream`.

  Returns:
    The new state; the old one is as it was.

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
  """What a memory answers, and is not changed by.

      out[t] = M(query[t]; W)

  Args:
    state: what the memory knows.
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
  _check(state, {"query": query})
  dtype = wide(state, query)
  held = raised(state, dtype)
  one = lambda weights, q: sequential.answer(state.rule, weights, q)
  for _ in state.lead:
    one = jax.vmap(one)
  with jax.named_scope("memory"):
    found = one(held.weights, _heads_first(query.astype(dtype)))
  return _heads_last(found).astype(query.dtype)


def _run(state, query, key, value, gates, implementation):
  """The state after a sequence, and the answers where there are queries."""
  arrays = {"key": key, "value": value}
  _check(state, arrays if query is None else {"query": query} | arrays)
  found, outside = checked(state.rule, gates, key.shape[:-1])
  one = _chosen(state, key.shape[-3], implementation)
  if not key.size:
    moved = state.replace(position=_moved(state.position, key.shape[-3]))
    return moved, None if query is None else jnp.zeros_like(value)
  dtype = wide(state, query, key, value, *found.values())
  raise_ = lambda x: None if x is None else _heads_first(x.astype(dtype))
  numbers = {
    name: jnp.swapaxes(x.astype(dtype), -1, -2) for name, x in found.items()
  }
  tokens = raise_(key), raise_(value), numbers
  axes = jax.tree.map(lambda _: 0, state).replace(position=None)
  for _ in state.lead:
    one = jax.vmap(one, in_axes=(axes, 0, 0), out_axes=(axes, 0))
  with jax.named_scope("memory"):
    held = raised(state, dtype, query, *jax.tree.leaves(tokens))
    new, answers = one(held, raise_(query), tokens)
  new = jax.tree.map(lambda x, old: x.astype(old.dtype), new, state)
  if outside is not None:  # of such a head nothing is right from here on
    heads = outside.any(-2)
    new = poison(new.replace(position=None), heads)
    answers = poison(answers, heads)
  new = new.replace(position=_moved(state.position, key.shape[-3]))
  if answers is None:
    return new, None
  return new, _heads_last(answers).astype(value.dtype)


def _moved(position, count: int):
  """Known where it was known: then the next call knows where chunks begin."""
  return (position + count).astype(jnp.int32)


def _chosen(state: MemoryState, count: int, name: str | None) -> Callable:
  """The implementation of a call, over one head."""
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


def _check(state: MemoryState, arrays: dict[str, Any]) -> None:
  """Raises ValueError where arrays do not fit each other or the state."""
  rule, lead = state.rule, state.lead
  shapes = {name: tuple(w.shape[-2:]) for name, w in state.weights.items()}
  first = next(iter(arrays.values()))
  for name, x in arrays.items():
    like = (*lead[:-1], first.shape[-3], lead[-1]) if first.ndim > 2 else ()
    if x.ndim != len(lead) + 2 or x.shape[:-1] != like:
      raise ValueError(
        f"memory: {name} must be '*B T H ...' with *B and H = {list(lead)} of"
        f" the state and one T for all, got the shape {list(x.shape)}"
      )
  widths = {name: x.shape[-1] for name, x in arrays.items()}
  width = widths["key"] if "key" in widths else widths["query"]
  value_width = widths.get("value", _value_width(state))
  expected = rule.structure.shapes(rule.features.width(width), value_width)
  if widths.get("query", width) != width or expected != shapes:
    raise ValueError(
      f"memory: the state has maps of the sizes {shapes}; arrays of the widths"
      f" {widths} need {expected}; make the state with memory.init of the same"
      " rule and widths"
    )


def _value_width(state: MemoryState) -> int:
  """E of a state, which no other array of a read tells."""
  # The structure says which map is the last; a pytree puts names in order.
  last = list(state.rule.structure.shapes(1, 1))[-1]
  return state.weights[last].shape[-1]


_heads_first = functools.partial(jnp.moveaxis, source=-3, destination=-2)


def _heads_last(x):
  return jnp.moveaxis(x, -2, -3)
