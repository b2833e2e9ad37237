"""Fits the cost of a tile to measured times: which blocks attention chooses.

Every combination of sizes is measured, forward and with gradients, on as many
threads as the process may use; the factors of `TileCost` that predict the times
best are printed as they stand in `attnjax.ops.attention.block_sizes`.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.optimize import nnls

import attnjax
from attnjax.ops.attention.block_sizes import TileCost
from attnjax.ops.tiles import Blocks
from experiments.attention_speed.config import TileCostConfig, integers

__all__ = ["Fit", "Tile", "fit", "measured_tiles"]

# The factors of a cost that times are linear in; the two sizes are searched.
_LINEAR = ("fixed", "logit", "product", "alone", "spill", "edge")
_CACHES = tuple(2**n for n in range(17, 22))
_SHARED = (0, *(2**n for n in range(15, 20)))
_NANO = 1e9


class Tile(NamedTuple):
  """Blocks of a call and the seconds of one of its tiles, both passes."""

  width: int
  blocks: Blocks
  seconds: float

  def record(self) -> dict[str, Any]:
    """The tile as a row of a CSV."""
    return {
      "width": self.width,
      "heads": self.blocks.heads,
      "query": self.blocks.query,
      "key": self.blocks.key,
      "seconds": self.seconds,
    }


class Fit(NamedTuple):
  """The cost that predicts measured tiles best.

  Args:
    cost: of a tile.
    error: median of the relative errors of its predictions.
  """

  cost: TileCost
  error: float

  def __str__(self) -> str:
    """The cost as Python, with its error above."""
    said = [
      f"# Predicts the tiles measured with a median error of {self.error:.1%}."
    ]
    said.append("TileCost(")
    for name, value in self.cost._asdict().items():
      text = f"{value:.4g}" if isinstance(value, float) else str(value)
      said.append(f"  {name}={text},")
    return "\n".join([*said, ")"])


def measured_tiles(config: TileCostConfig) -> Iterator[Tile]:
  """Measures calls cut into tiles of every size, one after the other."""
  sizes = integers(config.sizes, "sizes")
  widths = integers(config.head_widths, "head_widths")
  heads = [h for h in range(1, config.heads + 1) if config.heads % h == 0]

  for width in widths:
    x = _inputs(config, width)
    for h, query, key in itertools.product(heads, sizes, sizes):
      blocks = Blocks(1, h, query, key)
      tiles = config.heads // h
      tiles *= -(-config.length // query) * -(-config.length // key)
      seconds = _forward_backward(x, blocks, config.calls)
      yield Tile(width, blocks, seconds / tiles)


def _inputs(config: TileCostConfig, width: int) -> tuple[jax.Array, ...]:
  """Query, key, value and the cotangent of the output, ``1 T H D``."""
  keys = jax.random.split(jax.random.key(config.seed), 4)
  shape = (1, config.length, config.heads, width)
  return tuple(jax.random.normal(key, shape) for key in keys)


def _forward_backward(x: tuple, blocks: Blocks, calls: int) -> float:
  """The least seconds of a forward pass and of one with gradients, summed."""
  engine = attnjax.Blockwise(blocks.query, blocks.key, blocks.heads)

  def attend(query, key, value):
    return attnjax.attend(query, key, value, implementation=engine)

  def gradients(query, key, value, cotangent):
    return jax.vjp(attend, query, key, value)[1](cotangent)

  return sum(
    _least(jax.jit(function), arrays, calls)
    for function, arrays in ((attend, x[:3]), (gradients, x))
  )


def _least(function, arrays: Sequence, calls: int) -> float:
  """The least seconds of some calls, after one that compiles."""
  jax.block_until_ready(function(*arrays))
  found = []

  for _ in range(calls):
    start = time.perf_counter()
    jax.block_until_ready(function(*arrays))
    found.append(time.perf_counter() - start)
  return min(found)


def fit(tiles: Sequence[Tile], most: int) -> Fit:
  """The cost of least absolute relative errors, its factors not below 0.

  Absolute, not squared: a tile that something else disturbed, while it was
  measured, should not move the others.

  Args:
    tiles: as measured.
    most: logits that a tile may hold, which times do not tell.

  A cost that was the source of the times is found again:

  >>> import itertools
  >>> from attnjax.ops.attention.block_sizes import TileCost
  >>> from attnjax.ops.tiles import Blocks
  >>> source = TileCost(5e3, 2.0, 0.1, 0.0, 4.0, 1.0, 2**17, 0, 2**21)
  >>> sizes = itertools.product((16, 64), (1, 4), (64, 512), (64, 256, 1024))
  >>> rows = [(d, Blocks(1, h, t, s)) for d, h, t, s in sizes]
  >>> tiles = [Tile(d, b, source(b, d) / 1e9) for d, b in rows]
  >>> found = fit(tiles, most=2**21)
  >>> found.cost.cache == 2**17, round(found.cost.logit, 3), found.error < 1e-6
  (True, 2.0, True)
  """
  seconds = np.array([tile.seconds * _NANO for tile in tiles])
  best, least = None, np.inf

  for cache, shared in itertools.product(_CACHES, _SHARED):
    sizes = {"cache": cache, "shared": shared, "most": most}
    # What one unit of each factor would cost each tile, relative to its time.
    columns = [
      [_cost({name: 1.0}, sizes)(b, d) for d, b, _ in tiles] for name in _LINEAR
    ]
    relative = np.array(columns).T / seconds[:, None]
    factors, errors = _least_absolute(relative)

    # A size that explains nothing stays at its first value.
    if errors.mean() < least - 1e-4:
      least = errors.mean()
      found = dict(zip(_LINEAR, map(float, factors), strict=True))
      best = Fit(_cost(found, sizes), float(np.median(errors)))

  if best is None:
    raise ValueError("fit: no cost predicts these times; measure more tiles")
  return best


def _least_absolute(relative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Factors >= 0 whose sums of columns are nearest to 1, and how far they are.

  Least squares, weighted anew by what the last factors left, to a floor of 1 %.
  """
  weights = np.ones(len(relative))

  for _ in range(30):
    factors, _ = nnls(relative * weights[:, None], weights)
    errors = np.abs(relative @ factors - 1)
    weights = 1 / np.sqrt(np.maximum(errors, 0.01))

  return factors, errors


def _cost(factors: dict[str, float], sizes: dict[str, int]) -> TileCost:
  """The cost of these factors, and of 0 for all others."""
  every = dict.fromkeys(_LINEAR, 0.0) | factors
  return TileCost(**every, **sizes)  # type: ignore[arg-type]
