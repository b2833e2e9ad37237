"""The weights of chosen queries, whatever computed the output."""

import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.attention.arguments import Call, checked_call
from attnjax.ops.attention.reference import logits_of, weights_of
from attnjax.ops.explicit_axes import laid, mesh_of, names_of, parted
from attnjax.ops.grid import Grid
from attnjax.ops.integers import int32
from attnjax.ops.masks.arrays import realigned
from attnjax.ops.normalizers import Normalizer
from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.ops.value_checks import poison, refuse
from attnjax.typing import Array, Float, Int

__all__ = ["attention_logits", "attention_weights"]


def attention_weights(
  query: Float[Array, "*B T H D"],
  key: Float[Array, "*B S K D"],
  *,
  queries: Int[Array, " N"] | None = None,
  heads: Sequence[int] | None = None,
  **options: Any,
) -> Float[Array, "*B _ N S"]:
  """The weights of attention: where chosen queries look.

  One row of weights is O(S): a few rows of a long sequence are cheap, where all
  of them would not fit.

  Args:
    query: ``*B T H D``.
    key: ``*B S K D``.
    queries: int ``N``, indices of the queries to show, negative ones from the
      end; None is all T.
    heads: which heads to compute, as Python ints, negative ones from the end;
      H of the result counts these. None is all.
    **options: as for `attend`; what says how to compute (`implementation`,
      `aux`) or what happens after (dropout) changes nothing.

  Returns:
    ``*B H N S``, rows that sum to 1, or to 0 where nothing is seen; NaN for an
    index outside the queries that is known only at run time.

  Raises:
    ValueError: as `attend`, or if an index is known to be outside the queries,
      or a head is none.

  >>> import jax.numpy as jnp
  >>> import jax, attnjax
  >>> from attnjax import masks
  >>> x = jax.random.normal(jax.random.key(0), (5, 1, 4))
  >>> last = attention_weights(x, x, queries=jnp.array([-1]))
  >>> _, aux = attnjax.attend(x, x, x, aux=("weights",))
  >>> bool(jnp.allclose(last[:, 0], aux.weights[:, -1], atol=1e-6))
  True
  """
  return _rows(weights_of, query, key, queries, heads, options)


def attention_logits(
  query: Float[Array, "*B T H D"],
  key: Float[Array, "*B S K D"],
  *,
  queries: Int[Array, " N"] | None = None,
  heads: Sequence[int] | None = None,
  **options: Any,
) -> Float[Array, "*B _ N S"]:
  """The logits of chosen queries, -inf where a key is hidden.

  Args:
    query: as for `attention_weights`, and so all that follows.
    key: ``*B S K D``.
    queries: int ``N``.
    heads: Python ints.
    **options: as for `attend`.

  Raises:
    ValueError: as `attention_weights`.

  >>> import jax, jax.numpy as jnp
  >>> x = jax.random.normal(jax.random.key(0), (5, 1, 4))
  >>> weights = jax.nn.softmax(attention_logits(x, x))
  >>> bool(jnp.allclose(weights, attention_weights(x, x), atol=1e-6))
  True
  """
  return _rows(logits_of, query, key, queries, heads, options)


def _rows(function: Callable, query, key, queries, heads, options):
  """A function of a call and its grid, of chosen queries and heads."""
  for name in ("implementation", "aux", "dropout_rate", "dropout_key"):
    options.pop(name, None)
  call = checked_call(query, key, key, options)
  grid, outside = call.grid(), None

  if heads is not None:
    call, grid = _of_heads(call, grid, _known_heads(heads, call.shape[1]))
  if queries is not None:
    rows, outside = _indices(queries, jnp.shape(query)[-3])
    call, grid = _of(call, grid, rows)

  found = function(call, grid)
  for wrong in (call.wrong, None if outside is None else outside[None]):
    if wrong is not None:
      found = poison(found, wrong[:, None])
  return parted(found, jnp.shape(query)[:-3], query, key)


def _known_heads(heads: Sequence[int], total: int) -> np.ndarray:
  """Indices of heads, counted from the first."""
  which = np.array([operator.index(h) for h in heads], np.int32)
  if ((which < -total) | (which >= total)).any():
    raise ValueError(
      f"attention_weights: heads must be within the H={total} there are, got"
      f" {list(heads)}"
    )
  return which % total


def _of_heads(call: Call, grid: Grid, heads: np.ndarray) -> tuple[Call, Grid]:
  """The call and the grid of some of its heads, each with a key of its own."""
  total = call.shape[1]

  def table(x):
    whole = x is None or x.shape[-3] == 1
    return x if whole else _taken(x, heads, x.ndim - 3)

  key = _taken(call.key, heads // call.group, 2)
  rules = call.rules._replace(
    mask=realigned(table, call.rules.mask), bias=table(call.rules.bias)
  )
  normalizer = call.normalizer
  if any(jnp.ndim(x) for x in jax.tree.leaves(normalizer)):
    # It may know something of each head, such as the logit of its sink.
    normalizer = _OfSomeHeads(normalizer, tuple(map(int, heads)), total)

  call = dataclasses.replace(
    call,
    query=_taken(call.query, heads, 2),
    key=key,
    value=key,
    rules=rules,
    normalizer=normalizer,
  )
  head = jnp.asarray(heads).reshape(1, -1, 1, 1)
  return call, dataclasses.replace(grid, head=head)


def _taken(x, which: np.ndarray, axis: int):
  """Parts of an array along an axis, which are then undivided on a mesh."""
  names = names_of(x)
  whole = (*names[:axis], (), *names[axis + 1 :])
  return jnp.take(laid(x, mesh_of(x), whole), which, axis)


@pytree_dataclass
class _OfSomeHeads(Normalizer):
  """A normalizer of some heads, whatever it knows of each."""

  normalizer: Normalizer
  heads: tuple[int, ...] = static()
  total: int = static()

  def __call__(self, logits):
    # Heads that nobody asked for see nothing.
    shape = (logits.shape[0], self.total, *logits.shape[2:])
    which = np.array(self.heads, np.int32)
    every = jnp.full(shape, -jnp.inf, logits.dtype).at[:, which].set(logits)
    weights, logsumexp = self.normalizer(every)
    return weights[:, which], logsumexp[:, which]


def _indices(queries, length: int):
  """Indices of queries, and which of them are outside."""
  rows = int32("attention_weights: queries", queries)
  if rows.ndim != 1:
    raise ValueError(
      "attention_weights: queries must have one axis, indices of rows, got"
      f" shape {list(rows.shape)}"
    )

  outside = refuse(
    lambda rows: (rows < -length) | (rows >= length),
    lambda rows: ValueError(
      f"attention_weights: queries must be within the T={length} there are,"
      f" got {rows.tolist()}"
    ),
    rows,
  )
  return jnp.where(rows < 0, rows + length, rows), outside


def _of(call: Call, grid: Grid, rows) -> tuple[Call, Grid]:
  """The call and the grid of some of its queries."""

  def table(x, axis=-2):
    return x if x is None or x.shape[axis] == 1 else jnp.take(x, rows, axis)

  grid = dataclasses.replace(
    grid,
    query_position=jnp.take(grid.query_position, rows, -2),
    query_index=jnp.take(grid.query_index, rows, -2),
  )
  rules = call.rules._replace(
    mask=realigned(table, call.rules.mask),
    bias=table(call.rules.bias),
    query_segment_ids=table(call.rules.query_segment_ids, -1),
  )
  query = jnp.take(call.query, rows, 1)
  call = dataclasses.replace(
    call,
    query=query,
    rules=rules,
    query_positions=table(call.query_positions, -1),
    wrong=table(call.wrong, -1),
  )
  return call, grid
