"""Lookups within a tile that no kernel can be made of, and how that is said."""

from typing import Any

import jax.numpy as jnp

from attnjax.ops.tiles.flat_programs import CannotLower

__all__ = ["cannot_add", "cannot_join", "cannot_look_up", "fill_value"]


def cannot_look_up(line, instead: str) -> CannotLower:
  """The refusal of a gather or slice, and what there is instead."""
  return CannotLower(
    f"a {line.primitive.name!r} of {list(line.invars[0].aval.shape)} that finds"
    f" {list(line.outvars[0].aval.shape)}: {instead}"
  )


def cannot_add(line, instead: str) -> CannotLower:
  """The refusal of an addition to an array, and what there is instead."""
  return CannotLower(
    f"a {line.primitive.name!r} to {list(line.outvars[0].aval.shape)}:"
    f" {instead}"
  )


def cannot_join(line) -> CannotLower:
  """The refusal of a concatenation of more than single numbers."""
  return CannotLower(
    f"a concatenation of {[list(v.aval.shape) for v in line.invars]} within"
    " a tile, as a lookup by position makes"
  )


def fill_value(line, dtype) -> Any:
  """What a gather finds outside of its array; None: it takes the nearest."""
  if "FILL" not in str(line.params["mode"]):
    return None
  fill = line.params["fill_value"]
  if fill is not None:
    return fill
  return jnp.nan if jnp.issubdtype(dtype, jnp.inexact) else 0
