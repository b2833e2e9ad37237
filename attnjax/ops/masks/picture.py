"""A mask of a call without attention: its tables and arrays made to fit."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from attnjax.ops.grid import Grid
from attnjax.ops.masks.algebra import Mask
from attnjax.ops.masks.arrays import realigned
from attnjax.ops.masks.covering import covered

__all__ = ["on_one_axis", "one_head"]


def one_head(
  mask: Mask, query_length: int, key_length: int, batch: int = 0, head: int = 0
) -> np.ndarray:
  """bool ``T S`` of one row of the batch and one head.

  >>> from attnjax import masks
  >>> one_head(masks.causal(), 2, 2).tolist()
  [[True, False], [True, True]]
  """
  mask = covered(mask, query_length, key_length)
  mask = realigned(lambda x: _row(x, batch, head), mask)
  grid = Grid.of((1,), 1, query_length, key_length)
  grid = dataclasses.replace(
    grid, batch=grid.batch + batch, head=grid.head + head
  )
  shape = (1, 1, query_length, key_length)
  return np.broadcast_to(mask.visible(grid), shape)[0, 0]


def on_one_axis(
  mask: Mask, batch: tuple[int, ...], query_length: int, key_length: int
) -> Mask:
  """The mask of so many positions from 0, its arrays with one batch axis.

  >>> from attnjax import masks
  >>> mask = masks.full() & np.ones((5, 3, 1, 2, 2), bool)
  >>> on_one_axis(mask, (5, 3), 2, 2)
  full() & bool[15,1,2,2]
  """

  def flat(x):
    lead = np.shape(x)[:-3]
    if len(lead) != len(batch) or not all(
      size in (1, axis) for size, axis in zip(lead, batch, strict=True)
    ):
      return x  # refused where it is asked
    rows = (1,) * len(batch) if math.prod(lead) == 1 else batch
    x = jnp.broadcast_to(x, (*rows, *x.shape[-3:]))
    return x.reshape((math.prod(rows), *x.shape[-3:]))

  return realigned(flat, covered(mask, query_length, key_length))


def _row(array, batch: int, head: int):
  """Of a boolean array, ``T S`` of one row of the batch and one head."""
  array = array.reshape((1,) * (3 - np.ndim(array)) + np.shape(array))
  array = array.reshape((-1, *array.shape[-3:]))
  array = array[batch if array.shape[0] > 1 else 0]
  return array[head if array.shape[0] > 1 else 0]
