"""What a tile adds to the sums of its rows, relative to a shift of each row."""

import jax.numpy as jnp

from attnjax.ops.attention.reading import Reading
from attnjax.ops.grid import Grid

__all__ = ["finite", "layouts", "sums_of", "totals"]


def totals(reading: Reading) -> bool:
  """Whether the total weight of a row is needed."""
  return reading.shares or "logsumexp" in reading.form.aux


def layouts(names) -> list[str]:
  """The layouts of sums by name."""
  return ["b.t." if name == "number" else "b.t" for name in names]


def sums_of(part: Reading, logits, shifts, grid: Grid, names) -> dict:
  """What a tile adds to the sums of these names, at the shifts of its rows.

  Shifts are subtracted one after the other: the sum of a large and a small one
  would have lost the small one.
  """
  sums = {}
  alone = part.normalizer.weigh(logits)
  if "total" in names:
    shifted = logits
    for shift in shifts:
      shifted = shifted - shift[..., None]
    shared = jnp.exp(shifted)
    sums["total"] = shared.sum(-1)
  weights = shared if alone is None else alone
  sums["number"] = part.read(weights, grid)
  if "spread" in names:
    # Σ w log w of what has a weight; 0 log 0 is 0, in value and gradient.
    held = weights > 0
    log = shifted if alone is None else -jnp.log(jnp.where(held, weights, 1))
    sums["spread"] = (weights * jnp.where(held, log, 0)).sum(-1)
  return sums


def finite(x):
  """A shift: that of a row that has seen nothing is 0."""
  return jnp.where(jnp.isfinite(x), x, 0)
