"""The weights of chosen queries, whatever computed the output."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from attnjax.ops.attention.arguments import Call, checked_call
from attnjax.ops.attention.reference import weights_of
from attnjax.ops.explicit_axes import parted
from attnjax.ops.grid import Grid
from attnjax.ops.integers import int32
from attnjax.ops.masks.arrays import realigned
from attnjax.ops.value_checks import poison, refuse
from attnjax.typing import Array, Float, Int

__all__ = ["attention_weights"]


def attention_weights(
  query: Float[Array, "*B T H D"],
  key: Float[Array, "*B S K D"],
  *,
  queries: Int[Array, " N"] | None = None,
  **options: Any,
) -> Float[Array, "*B H N S"]:
  """The weights of attention: where chosen queries look.

  One row of weights is O(S): a few rows of a long sequence are cheap, where all
  of them would not fit.

  Args:
    query: ``*B T H D``.
    key: ``*B S K D``.
    queries: int ``N``, indices of the queries to show, negative ones from the
      end; None is all T.
    **options: as for `attend`; what says how to compute (`implementation`,
      `aux`) or what happens after (dropout) changes nothing.

  Returns:
    ``*B H N S``, rows that sum to 1, or to 0 where nothing is seen; NaN for an
    index outside the queries that is known only at run time.

  Raises:
    ValueError: as `attend`, or if an index is known to be outside the queries.

  >>> import jax.numpy as jnp
  >>> import jax, attnjax
  >>> from attnjax import masks
  >>> x = jax.random.normal(jax.random.key(0), (5, 1, 4))
  >>> last = attention_weights(x, x, queries=jnp.array([-1]))
  >>> _, aux = attnjax.attend(x, x, x, aux=("weights",))
  >>> bool(jnp.allclose(last[:, 0], aux.weights[:, -1], atol=1e-6))
  True
  """
  for name in ("implementation", "aux", "dropout_rate", "dropout_key"):
    options.pop(name, None)
  call = checked_call(query, key, key, options)
  grid, outside = call.grid(), None
  if queries is not None:
    rows, outside = _indices(queries, jnp.shape(query)[-3])
    call, grid = _of(call, grid, rows)
  weights = weights_of(call, grid)
  for wrong in (call.wrong, None if outside is None else outside[None]):
    if wrong is not None:
      weights = poison(weights, wrong[:, None])
  return parted(weights, jnp.shape(query)[:-3], query, key)


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
