"""The functions of tiles that `tile_sum` derives from a function of tiles."""

from collections.abc import Callable, Sequence

import jax
from jax import lax

from attnjax.ops.shard_map_axes import varying_alike, varying_axes

__all__ = ["batch_of", "tangent_of", "transpose_of"]


def tangent_of(function: Callable, active: tuple[int, ...], count: int):
  """The JVP of a tile's function in the operands that move: f'(x) dx."""

  def tangent(full, tile, *parts):
    fixed, moves = list(parts[:count]), parts[count:]

    def moving(*xs):
      for k, x in zip(active, xs, strict=True):
        fixed[k] = x
      return function(full, tile, *fixed)

    return jax.jvp(moving, tuple(fixed[k] for k in active), moves)[1]

  return tangent


def transpose_of(
  function: Callable,
  linear: dict[int, jax.ShapeDtypeStruct],
  given: tuple[int, ...],
  count: int,
):
  """The transpose of a tile's function, linear in some of its operands.

  ``(full, tile, *the other operands, *given cotangents) -> those of linear``,
  of which the shape of a tile's part is known.
  """
  known = [k for k in range(count) if k not in linear]

  def transpose(full, tile, *parts):
    fixed = dict(zip(known, parts, strict=False))
    cotangents = parts[len(known) :]

    def of_linear(*xs):
      every = fixed | dict(zip(linear, xs, strict=True))
      out = function(full, tile, *(every[k] for k in sorted(every)))
      return [out[k] for k in given]

    axes = varying_axes(*parts)
    like = [
      varying_alike(lax.full(x.shape, 0, x.dtype, sharding=x.sharding), axes)
      for x in linear.values()
    ]
    return list(jax.linear_transpose(of_linear, *like)(list(cotangents)))

  return transpose


def batch_of(function: Callable, batched: Sequence[bool]):
  """The tile's function, mapped over a leading axis of some operands."""
  axes = [0 if b else None for b in batched]

  def batch(full, tile, *parts):
    one = lambda *xs: function(full, tile, *xs)
    return jax.vmap(one, in_axes=axes, out_axes=0)(*parts)

  return batch
