"""What of a call no kernel can be made of, found before a compiler is asked."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from attnjax.ops.attention.arguments import Call
from attnjax.ops.attention.fused_blocks import chip_of
from attnjax.ops.attention.fused_gpus import gpu_of
from attnjax.ops.tiles.flat_programs import CannotLower
from attnjax.ops.tiles.tile_sum import sum_by_kernel
from attnjax.ops.tiles.vmem import TooLarge

__all__ = ["unlowered"]


def unlowered(fused: Any, call: Call) -> str | None:
  """What of a call, or of its gradient, no kernel can be made of.

  Args:
    fused: has `computed`, the program of a call.
    call: of arrays, traced or not.
  """
  leaves, tree = jax.tree.flatten(call)
  kinds = tuple(map(_kind, leaves))
  return _traced(fused, tree, kinds, gpu_of(*leaves) or chip_of(*leaves))


def _kind(x) -> tuple:
  """Shape and dtype of an array, and how it is divided where its type says."""
  sharding = jax.typeof(x).sharding
  divided = bool(sharding.mesh.explicit_axes)
  return jnp.shape(x), jnp.result_type(x), sharding if divided else None


@functools.lru_cache(maxsize=512)
def _traced(fused, tree, kinds: tuple, chip) -> str | None:
  """Traces a call and its gradient, and says what could not be lowered."""
  del chip  # the trace asks for it, and the answer is kept for each
  arrays = [jax.ShapeDtypeStruct(n, d, sharding=s) for n, d, s in kinds]
  moving = [jnp.issubdtype(x.dtype, jnp.inexact) for x in arrays]

  def gradient(*leaves):
    moves = [x for x, m in zip(leaves, moving, strict=True) if m]

    def forward(*moves):
      given = iter(moves)
      every = [
        next(given) if m else x for x, m in zip(leaves, moving, strict=True)
      ]
      return fused.computed(jax.tree.unflatten(tree, every))

    found, back = jax.vjp(forward, *moves)
    return back(found)

  try:
    _lower_sums(jax.make_jaxpr(gradient)(*arrays).jaxpr)
  except CannotLower as part:
    return f"no kernel can be made of a part of it: {part}"
  except TooLarge as size:
    return str(size)
  return None


def _lower_sums(jaxpr) -> None:
  """Makes, and drops, the kernel of each sum in a program."""
  for line in jaxpr.eqns:
    if line.primitive.name == "tile_sum":
      lower = functools.partial(sum_by_kernel, **line.params)
      # Of one device, wherever it is.
      shapes = [(v.aval.shape, v.aval.dtype) for v in line.invars]
      jax.eval_shape(lower, *(jax.ShapeDtypeStruct(*x) for x in shapes))
    for inner in jax.tree.leaves(list(line.params.values())):
      if hasattr(inner, "eqns"):
        _lower_sums(getattr(inner, "jaxpr", inner))
