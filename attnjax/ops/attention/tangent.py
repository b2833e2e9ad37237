"""The tangent of what is read, from the tangents of what it is read of."""

import jax
import jax.numpy as jnp
from jax.custom_derivatives import zero_from_primal

from attnjax.ops.attention.reading import Reading
from attnjax.ops.attention.sums import layouts, sums_of, totals
from attnjax.ops.tiles import Sweep, tile_sum_tangent

__all__ = ["tangent"]


def tangent(reading: Reading, sweep: Sweep, result: dict, moving: dict) -> dict:
  """The tangent of the result, from the tangents of some of the operands."""
  operands, tree = jax.tree.flatten(reading)
  names = _needed(reading)
  # The log-sum-exp is the shift, of two parts, of which the rest moves with it
  # in derivatives of second order; the place of the largest logit does not.
  extra = {n: result[n] for n in ("shift", "rest", "place") if n in result}
  function = _sums_of_tile(tree, len(operands), tuple(extra), names)
  shape = result["out"].shape
  dtype = reading.form.dtype
  moved = tile_sum_tangent(
    function,
    sweep,
    [*operands, *extra.values()],
    moving,
    [*jax.tree.leaves(reading.layouts()), *["b.t"] * len(extra)],
    [
      jax.ShapeDtypeStruct(shape if n == "number" else shape[:-1], dtype)
      for n in names
    ],
    layouts(names),
  )
  return _moved(reading, result, dict(zip(names, moved, strict=True)))


def _sums_of_tile(tree, count: int, extra: tuple[str, ...], names):
  """The function of a tile; it closes over no array, for it is a parameter."""

  def function(full, tile, *parts):
    part, rest = jax.tree.unflatten(tree, parts[:count]), list(parts[count:])
    grid = part.grid(tile)
    logits = part.logits(grid, full)
    shifts = [rest.pop(0) for n in ("shift", "rest") if n in extra]
    sums = sums_of(part, logits, shifts, grid, names)
    if rest:
      at = grid.key_index == rest[0][..., None]
      sums["peak"] = jnp.where(at, logits, 0).sum(-1)
    return [sums[name] for name in names]

  return function


def _needed(reading: Reading) -> list[str]:
  """The sums whose tangents make the tangent of the result."""
  asked = ["number"]
  if totals(reading):
    asked.append("total")
  if "entropy" in reading.form.aux:
    asked.append("spread")
  if "max_logit" in reading.form.aux:
    asked.append("peak")
  return asked


def _moved(reading: Reading, result: dict, sums: dict) -> dict:
  """From tangents of the sums at the log-sum-exp to those of the result."""
  moved = {"out": sums["number"]}
  if "total" in sums:
    moved["logsumexp"] = moved["rest"] = sums["total"]
    moved["shift"] = zero_from_primal(result["shift"], symbolic_zeros=True)
  if reading.shares:
    moved["out"] = sums["number"] - sums["total"][..., None] * result["out"]
  if "spread" in sums:
    moved["entropy"] = sums["spread"]
    if reading.shares:
      held = sums["total"] * (1 - result["entropy"])
      moved["entropy"] = held - sums["spread"]
  if "peak" in sums:
    moved["max_logit"] = sums["peak"]
    moved["place"] = zero_from_primal(result["place"], symbolic_zeros=True)
  return moved
