"""`fold` and `tile_sum` as a Pallas kernel for TPUs: one grid, one program.

The grid is (mapped axes, batch rows, heads, visits). Tables in SMEM, fetched
before the kernel starts, say which blocks each visit is of, and whether its
tiles are empty, mixed or full.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from attnjax.ops.shard_map_axes import varying_axes, varying_struct
from attnjax.ops.tiles.fold import Filled, Subscripts, Sweep
from attnjax.ops.tiles.kernel_arrays import GivenArray
from attnjax.ops.tiles.kernel_estimate import estimate
from attnjax.ops.tiles.kernel_plan import Plan, planned
from attnjax.ops.tiles.mosaic_visit import Visit
from attnjax.ops.tiles.planes import (
  LANES,
)
from attnjax.ops.tiles.visits import Held
from attnjax.ops.tiles.vmem import check_smem, check_vmem

__all__ = ["walk"]


def walk(
  kernel,
  function: Callable,
  sweep: Sweep,
  operands: Sequence,
  subscripts: Sequence[Subscripts],
  start: Sequence[Filled],
  start_subscripts: Sequence[Subscripts],
  *,
  adds: bool,
) -> list[jax.Array]:
  """The arrays after the last tile; see `attnjax.ops.tiles.kernel.Kernel`."""
  visits = kernel.visits
  if not visits.pairs:
    return [x.made() for x in start]
  given = [
    GivenArray.of(jnp.shape(x), jnp.result_type(x), axes)
    for x, axes in zip(operands, subscripts, strict=True)
  ]
  sums = [
    GivenArray.of(x.shape, x.dtype, axes)
    for x, axes in zip(start, start_subscripts, strict=True)
  ]
  plan = planned(
    visits,
    kernel.narrow,
    function,
    sweep,
    given,
    sums,
    start,
    adds,
    kernel.joins,
  )

  codes = visits.table(sweep.codes, plan.numbers, plan.counts["b"])
  tables = [
    jnp.asarray(plan.pairs.T.reshape(-1), jnp.int32),
    jnp.asarray(plan.edges().reshape(-1), jnp.int32),
    codes.reshape(-1),
  ]
  arrays = []
  in_specs = []
  for k, (x, array) in enumerate(zip(operands, given, strict=True)):
    if array.in_smem and not plan.read_singly[k]:
      continue
    x = array.give(jnp.asarray(x))
    arrays.append(x.astype(jnp.bfloat16) if plan.narrowed[k] else x)
    in_specs.append(_spec(plan, array, None))
  for k, (x, array) in enumerate(zip(operands, given, strict=True)):
    if plan.by_position[k]:
      arrays.append(array.give_strips(jnp.asarray(x)))
      whole = array.strips
      in_specs.append(
        pl.BlockSpec(whole, lambda *_, rank=len(whole): (0,) * rank)
      )

  out_specs = [_spec(plan, *of) for of in zip(sums, plan.held, strict=True)]
  scratch = [
    pltpu.VMEM((plan.long(array.names[0]), LANES), array.dtype)
    for array, column in zip(sums, plan.columns, strict=True)
    if column
  ]
  varying = varying_axes(*arrays)
  outs = [varying_struct(x.given, _dtype(x), varying) for x in sums]
  singly = [
    array
    for array, read in zip(given, plan.read_singly, strict=True)
    if read and array.in_smem
  ]
  check_smem([*singly, *(x for x in sums if x.in_smem)], tables)
  check_vmem(kernel.limit, arrays, in_specs, outs, out_specs, scratch)

  body = functools.partial(Visit, plan, start, adds, codes.shape)
  found = pl.pallas_call(
    lambda *refs: body(refs).run(),
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=len(tables),
      grid=(*(plan.counts[a] for a in plan.lead), len(plan.pairs)),
      in_specs=in_specs,
      out_specs=out_specs,
      scratch_shapes=scratch,
    ),
    out_shape=outs,
    cost_estimate=estimate(plan, visits),
    interpret=kernel.interpret,
    name="attnjax_sum" if adds else "attnjax_fold",
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=_semantics(plan), vmem_limit_bytes=kernel.limit
    ),
  )(*tables, *arrays)
  return [array.taken(x) for array, x in zip(sums, found, strict=True)]


def _semantics(plan: Plan) -> tuple:
  """Which axes of the grid two cores may share: where no sum meets itself."""
  # Query heads of a group meet in sums over keys, and all heads in SMEM.
  alone = not any(x.in_smem for x in plan.sums)
  over = {a for of in plan.held for a in of.over}
  free = {
    "b": alone and "b" not in over,
    "h": alone and not over & set("kg"),
  }
  names = [
    "parallel" if free.get(a, alone and a not in over) else "arbitrary"
    for a in plan.lead
  ]
  return (*names, "arbitrary")


def _dtype(array: GivenArray):
  """The dtype in which the kernel has a sum: SMEM has numbers of 32 bits."""
  wide = array.in_smem and array.dtype.itemsize < 4
  return jnp.dtype(jnp.float32) if wide else array.dtype


def _spec(plan: Plan, array: GivenArray, of: Held | None):
  """Which part of an array a visit has; of a sum, which is held."""
  if array.in_smem:
    return pl.BlockSpec(memory_space=pltpu.SMEM)
  shape = [1 if plan.is_cut(a, of) else n for a, n in array.lead]
  shape += [1] * (2 - len(array.inner))
  shape += [
    plan.long(a) if plan.is_cut(a, of) else array.shape[d]
    for d, a in array.inner
  ]
  visits = len(plan.pairs)

  def place(*ids):
    *grid, n, pairs, _, _ = ids
    at = dict(zip(plan.lead, grid, strict=True))
    at |= {"t": pairs[n], "s": pairs[visits + n]}
    found = [
      plan.block(a, at) if plan.is_cut(a, of) and size > 1 else 0
      for a, size in array.lead
    ]
    found += [0] * (2 - len(array.inner))
    found += [at[a] if plan.is_cut(a, of) else 0 for _, a in array.inner]
    return tuple(found)

  return pl.BlockSpec(tuple(shape), place)
