"""Captured arrays of masks: one entry a batch row, or one for all rows."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.integers import int32
from attnjax.ops.known import known, value_of

__all__ = [
  "UNDECIDED",
  "Verdict",
  "below",
  "check_rows",
  "extremes",
  "integers",
  "module_of",
  "of_row",
  "settled",
]


# A pair (some, every): `some` false proves a tile empty, `every` true proves it
# full; what is undecided is (True, False). The pair is closed under & | ~, and
# works on ints, on numpy arrays of tiles and on traced bounds alike.
Verdict = tuple
UNDECIDED: Verdict = (True, False)


def integers(rule: str, name: str, x, least_rank: int = 0):
  """Checks that a captured array holds integers."""
  x = int32(f"{rule}: {name}", x)
  if x.ndim < least_rank:
    raise ValueError(
      f"{rule}: {name} must have at least {least_rank} axes, got {x.ndim}"
    )
  # One number is a number, that can be compared, and no array of one.
  return x[()] if isinstance(x, np.ndarray) and x.ndim == 0 else x


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


def below(limit, bounds: tuple, batch: tuple | None) -> Verdict:
  """Decides ``x < limit`` for x from first to last, over batch rows."""
  if np.size(limit) == 0:
    return UNDECIDED
  first, last = bounds
  least, most = extremes(limit, batch, 0)
  return first < most, last < least


def extremes(x, batch: tuple | None, trailing: int) -> tuple:
  """The least and the most of an array ``*B ...`` over the rows of an area.

  A range of several rows answers for all rows, which proves less but no wrong.
  """
  x = settled(x)
  x = x.reshape((-1, *x.shape[x.ndim - trailing :]))
  if x.shape[0] == 1:
    return x[0], x[0]
  if batch is not None and known(batch[0]) and known(batch[1]):
    first, last = (np.asarray(b) for b in batch)
    if np.all(last == first):
      return x[first], x[first]
  return x.min(axis=0), x.max(axis=0)


def settled(x):
  """As numpy where the value is known here and now, else as it is."""
  value = value_of(x)
  return x if value is None else value


def module_of(*arrays):
  """numpy where every value is known here and now, else jax.numpy."""
  traced = (isinstance(settled(x), jax.Array) for x in arrays)
  return jnp if any(traced) else np
