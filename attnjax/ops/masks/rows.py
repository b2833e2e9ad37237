"""Captured arrays of masks: one entry a batch row, or one for all rows."""

import math

import jax.numpy as jnp
import numpy as np

from attnjax.ops.integers import int32, known
from attnjax.ops.masks.algebra import UNDECIDED, Verdict

__all__ = ["below", "check_rows", "integers", "of_row"]


def integers(rule: str, name: str, x, least_rank: int = 0):
  """Checks that a captured array holds integers."""
  x = int32(f"{rule}: {name}", x)
  if x.ndim < least_rank:
    raise ValueError(
      f"{rule}: {name} must have at least {least_rank} axes, got {x.ndim}"
    )
  return x


def check_rows(what: str, x, batch: tuple[int, ...], trailing: int) -> None:
  """Checks the leading axes of a captured array against the batch axes."""
  rows = np.shape(x)[: np.ndim(x) - trailing]
  if rows and math.prod(rows) != 1 and rows != batch:
    raise ValueError(
      f"mask: {what} has leading axes {list(rows)}, expected the batch axes"
      f" {list(batch)} or none; broadcast it to the batch first"
    )


def of_row(x, b, trailing: int):
  """The entry of batch row b of an array ``*B ...`` (or one for all)."""
  x = jnp.asarray(x)
  if x.ndim == trailing:
    return x
  x = x.reshape((-1, *x.shape[x.ndim - trailing :]))
  return x[jnp.zeros_like(b) if x.shape[0] == 1 else b]


def below(limit, bounds: tuple) -> Verdict:
  """Decides ``x < limit`` for x in a half-open range, over all batch rows."""
  if not known(limit) or np.size(limit) == 0:
    return UNDECIDED
  low, high = bounds
  limit = np.asarray(limit)
  return low < int(limit.max()), high <= int(limit.min())
