"""Lookups of single numbers within a tile: what no kernel can be made of.

A kernel finds one number of a captured array at a time, at indices that are
scalars; its gradient adds one number to an array of zeros.
"""

from typing import Any

import jax.numpy as jnp

from attnjax.ops.tiles.flat_programs import CannotLower

__all__ = ["cannot_add", "cannot_join", "cannot_look_up", "fill_value"]


def cannot_look_up(line) -> CannotLower:
  """The refusal of a gather or slice that finds more than one number."""
  return CannotLower(
    f"a {line.primitive.name!r} of {list(line.invars[0].aval.shape)} that finds"
    f" {list(line.outvars[0].aval.shape)}: a tile can look up single numbers,"
    " by batch row and head, and nothing by position"
  )


def cannot_add(line) -> CannotLower:
  """The refusal of an addition of several numbers, or to other than zeros."""
  return CannotLower(
    f"a {line.primitive.name!r} to {list(line.outvars[0].aval.shape)}: a tile"
    " adds single numbers only, to zeros"
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
