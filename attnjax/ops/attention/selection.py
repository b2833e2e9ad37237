"""Which keys of a row count, where only the largest logits do."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from attnjax.ops.attention.reading import Reading
from attnjax.ops.tiles import MIXED, Sweep, fold

__all__ = ["select"]


def select(reading: Reading, sweep: Sweep, count: int) -> Reading:
  """The reading, with the places of the largest logits of each row.

  They are found in a walk of their own, in O(T count) memory, and remembered by
  place: a logit computed again may differ in its last bit, a place does not.
  """
  batch, heads, length, _ = reading.form.shape
  fixed = lax.stop_gradient(reading)
  operands, tree = jax.tree.flatten(fixed)
  size = (batch, heads, length, count)
  ordered = reading.form.layouts is None
  start = [
    jnp.full(size, -jnp.inf, reading.form.dtype),
    jnp.full(size, -1, jnp.int32),
  ]

  def step(full, tile, parts, held):
    part = jax.tree.unflatten(tree, parts)
    grid = part.grid(tile)
    logits = part.logits(grid, full)
    places = jnp.broadcast_to(grid.key_index, logits.shape)
    # What is held comes first: of equal logits the first place stays.
    every = jnp.concatenate([held[0], logits], axis=-1)
    places = jnp.concatenate([held[1], places], axis=-1)
    if not ordered:  # keys of other devices come in any order
      places, every = lax.sort((places, every), num_keys=1)
    top, index = lax.top_k(every, count)
    return [top, jnp.take_along_axis(places, index, axis=-1)]

  # Full tiles are no kind of their own here, so that places come in order.
  mixed = jnp.minimum(jnp.asarray(sweep.codes), MIXED)
  kinds = tuple(sorted({min(kind, MIXED) for kind in sweep.kinds}))
  sweep = sweep._replace(codes=mixed, kinds=kinds)
  layouts = jax.tree.leaves(fixed.layouts())
  _, chosen = fold(step, sweep, operands, layouts, start, ["b.t."] * 2)
  return dataclasses.replace(reading, chosen=chosen)
