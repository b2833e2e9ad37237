"""What a kernel computes and moves, told to the compiler: it cannot look in."""

import math

import numpy as np
from jax.experimental import pallas as pl

from attnjax.ops.tiles.fold import EMPTY, FULL, MIXED
from attnjax.ops.tiles.kernel_arrays import GivenArray
from attnjax.ops.tiles.kernel_plan import Plan
from attnjax.ops.tiles.visits import Visits

__all__ = ["estimate", "live_counts", "of_tile"]

_TRANSCENDENTAL = {"exp", "exp2", "expm1", "log", "log1p", "tanh", "logistic"}
_TRANSCENDENTAL |= {"sin", "cos", "erf", "pow", "sqrt", "rsqrt", "div"}


def estimate(plan: Plan, visits: Visits) -> pl.CostEstimate:
  """FLOPs of matrix products, transcendental functions, and bytes of HBM.

  Tiles whose codes are known when the program runs all count as mixed.

  Args:
    plan: of the kernel.
    visits: in which order.
  """
  others = math.prod(plan.counts[a] for a in plan.lead if a != "b")
  flops, transcendentals = 0.0, 0.0
  for kind, tiles in live_counts(visits, plan.counts["b"]).items():
    program = plan.programs.get(kind)
    if program is None:
      continue
    products, functions = of_tile(program.jaxpr)
    flops += tiles * others * products
    transcendentals += tiles * others * functions

  moved = sum(
    _read(plan, array, narrowed)
    for array, narrowed in zip(plan.operands, plan.narrowed, strict=True)
  )
  moved += sum(math.prod(x.shape) * x.dtype.itemsize for x in plan.sums)
  return pl.CostEstimate(
    flops=int(flops),
    transcendentals=int(transcendentals),
    bytes_accessed=int(moved),
  )


def live_counts(visits: Visits, batch: int) -> dict[int, int]:
  """How many tiles of a head there are of each code, in all batch rows.

  Args:
    visits: of a kernel.
    batch: rows of the batch.

  >>> import numpy as np
  >>> from attnjax.ops.tiles.fold import FULL, MIXED, Blocks, Sweep
  >>> from attnjax.ops.tiles.visits import Visits
  >>> tiles = np.array([[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]])
  >>> codes = np.array([MIXED, FULL, MIXED])
  >>> sweep = Sweep(tiles, codes, Blocks(1, 1, 8, 8), (FULL, MIXED))
  >>> live_counts(Visits.of(sweep), 3)
  {1: 6, 2: 3}
  """
  rows = len(visits.place)
  codes = np.asarray(visits.codes, int).reshape(-1)
  if not visits.codes:
    codes = np.where(np.asarray(visits.place, int) < 0, EMPTY, MIXED)
  times = batch if rows == 1 else 1
  return {kind: times * int((codes == kind).sum()) for kind in (MIXED, FULL)}


def of_tile(jaxpr) -> tuple[float, float]:
  """FLOPs of the products of a tile, and results of other functions."""
  flops, functions = 0.0, 0.0
  for line in jaxpr.eqns:
    size = math.prod(line.outvars[0].aval.shape)
    if line.primitive.name == "dot_general":
      (axes, _), _ = line.params["dimension_numbers"]
      shape = line.invars[0].aval.shape
      flops += 2.0 * size * math.prod(shape[a] for a in axes)
    elif line.primitive.name in _TRANSCENDENTAL:
      functions += size
  return flops, functions


def _read(plan: Plan, array: GivenArray, narrowed: bool) -> int:
  """Bytes that the kernel reads of an operand, again where it comes back."""
  itemsize = 2 if narrowed else array.dtype.itemsize
  if array.in_smem:
    return math.prod(array.shape) * itemsize

  size = itemsize * math.prod(
    plan.long(a) if plan.is_cut(a, None) else array.shape[d]
    for d, a in array.inner
  )
  cut = [n for n, a in enumerate("ts") if a in (x for _, x in array.inner)]
  places = plan.pairs[:, cut]
  times = 1 + int((places[1:] != places[:-1]).any(-1).sum()) if cut else 1
  # One that does not come back within a head is kept from head to head, as far
  # as it has no axis of them.
  letters = {a for a, _ in array.lead}
  over = plan.lead if times > 1 else [a for a in plan.lead if a in letters]
  heads = plan.counts["k"] if "h" not in over and "k" in letters else 1
  return size * times * heads * math.prod(plan.counts[a] for a in over)
