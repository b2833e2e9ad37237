"""`memory_trace`: what a memory wrote at each token, and what its reads return.

A memory has no weights over tokens: what it was told is in its own weights. So
a trace says how far these moved at each token, and what a read gives back is
told by the values that it resembles.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.memory import Gates, MemoryState, stream
from attnjax.typing import Array, Float

__all__ = ["MemoryTrace", "memory_trace"]


@dataclasses.dataclass(frozen=True, eq=False)
class MemoryTrace:
  """What a memory wrote and read, a head a row; `page` shows it.

  Args:
    written: ``H T``, the Euclidean norm of the change of its weights.
    alike: ``H T T``, cosine of what is read at t and the value at s, where it
      was written by then, and at least 0; else 0.

  >>> import numpy as np
  >>> trace = MemoryTrace(np.ones((2, 3)), np.zeros((2, 3, 3)))
  >>> trace.heads, trace.lengths
  (2, (3, 3))
  """

  written: np.ndarray
  alike: np.ndarray

  @property
  def heads(self) -> int:
    """H."""
    return len(self.written)

  @property
  def lengths(self) -> tuple[int, int]:
    """(T, T)."""
    return self.alike.shape[1], self.alike.shape[2]

  @property
  def batch(self) -> int:
    """1: a trace is of one batch row."""
    return 1

  def weights(self, *, queries=None, heads=None) -> np.ndarray:
    """`alike` with a batch axis, of some reads and heads; None is all."""
    found = self.alike[None]
    found = found if queries is None else found[:, :, list(queries)]
    return found if heads is None else found[:, list(heads)]

  def statistics(self) -> tuple[tuple[str, ...], np.ndarray]:
    """Names, and numbers of each head, means over tokens ``H N``."""
    own = np.diagonal(self.alike, axis1=1, axis2=2)
    numbers = [self.written.mean(1), own.mean(1), self.alike.max(2).mean(1)]
    return ("written", "own value", "best value"), np.stack(numbers, 1)


def memory_trace(
  state: MemoryState,
  query: Float[Array | np.ndarray, "T H D"],
  key: Float[Array | np.ndarray, "T H D"],
  value: Float[Array | np.ndarray, "T H E"],
  gates: Gates,
) -> MemoryTrace:
  """Streams a sequence through a memory a token at a time, and looks.

  Args:
    state: of a memory without batch axes, see `memory.init`.
    query: ``T H D``.
    key: ``T H D``.
    value: ``T H E``.
    gates: each ``T H``.

  Returns:
    The trace; rules that step at the end of a chunk write there alone.

  Raises:
    ValueError: there is no token, the arrays have a batch axis, or `stream`
      refuses them.

  >>> import jax.numpy as jnp
  >>> from attnjax import memory
  >>> state = memory.init(memory.delta_net(), (), heads=1, width=2)
  >>> x = jnp.eye(2)[:, None]
  >>> trace = memory_trace(state, x, x, 3 * x, memory.Gates(jnp.ones((2, 1))))
  >>> trace.written.tolist(), trace.alike[0].tolist()
  ([[3.0, 3.0]], [[1.0, 0.0], [0.0, 1.0]])
  """
  if jnp.ndim(query) != 3 or jnp.shape(query)[0] == 0:
    raise ValueError(
      f"query must be T H D of one token or more, got {list(jnp.shape(query))};"
      " index the batch first"
    )

  def step(state: MemoryState, token: Any):
    after, out = stream(state, *jax.tree.map(lambda x: x[None], token))
    moved = jax.tree.map(
      lambda new, old: jnp.square(new - old).sum((-2, -1)),
      after.weights,
      state.weights,
    )
    return after, (jnp.sqrt(sum(jax.tree.leaves(moved))), out[0])

  # A position that is known would be another type after the first step.
  state, query, key, value, gates = jax.tree.map(
    jnp.asarray, (state, query, key, value, gates)
  )
  run = jax.jit(lambda state, tokens: jax.lax.scan(step, state, tokens)[1])
  written, out = run(state, (query, key, value, gates))
  alike = np.asarray(_alike(out, value, state.rule.reads))
  return MemoryTrace(np.asarray(written, np.float64).T, alike)


def _alike(out: Any, value: Any, reads: str) -> jax.Array:
  """Cosines ``H T T`` of reads and of values that were written by then."""
  unit = lambda x: (
    x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
  )
  found = jnp.einsum("the,she->hts", unit(out), unit(value))
  # A rule that reads before it writes cannot know the token itself.
  seen = jnp.tri(len(value), k=-1 if reads == "before" else 0, dtype=bool)
  return jnp.where(seen, jnp.clip(found, 0, 1), 0).astype(jnp.float32)
