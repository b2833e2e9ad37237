"""A walk over tiles as kernels of a GPU, whatever the function of a tile is."""

import dataclasses
import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from attnjax.ops.tiles.flat_programs import CannotLower
from attnjax.ops.tiles.fold import EMPTY, WHOLE, Filled, Subscripts, Sweep
from attnjax.ops.tiles.gpu.compiled import Chosen, Machine, called
from attnjax.ops.tiles.gpu.groups import Group, grouped
from attnjax.ops.tiles.gpu.interpreted import interpreted
from attnjax.ops.tiles.gpu.outline import Outline
from attnjax.ops.tiles.gpu.shared_memory import check_shared
from attnjax.ops.tiles.gpu.source import source_of
from attnjax.ops.tiles.gpu.tables import tables_of
from attnjax.ops.tiles.gpu.terms import Axes
from attnjax.ops.tiles.kernel_arrays import GivenArray, by_head
from attnjax.ops.tiles.kernel_plan import (
  block_counts,
  tile_program,
)
from attnjax.ops.tiles.narrowed import narrowed_operands
from attnjax.ops.tiles.visits import Visits

__all__ = ["GpuKernel"]


@dataclasses.dataclass(frozen=True)
class GpuKernel:
  """How kernels of a GPU visit the tiles of a sweep; static.

  `fold` and `tile_sum` lower to it, as to `Kernel` for a TPU: to one kernel for
  sums of the same axes each.

  Args:
    visits: in which order, of one tile each.
    machine: that the kernels are for; None interprets them, on any machine.
    chosen: how they are laid on it, of a fold and of a sum.
    narrow: name of the dtype to which factors of matrix products of default
      precision are rounded; None leaves them to the matrix unit.
  """

  visits: Visits
  machine: Machine | None = None
  chosen: tuple[Chosen, Chosen] = (Chosen(), Chosen())
  narrow: str | None = None

  def __call__(
    self,
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

    @custom_vmap
    def run(codes, *operands):
      return self._walk(
        function,
        sweep._replace(codes=codes),
        operands,
        subscripts,
        start,
        start_subscripts,
        adds,
      )

    @run.def_vmap
    def mapped(size, batched, codes, *operands):
      if batched[0]:
        alone = lambda xs: run(xs[0], *xs[1:])
        given = [
          x if b else jnp.broadcast_to(x, (size, *jnp.shape(x)))
          for x, b in zip((codes, *operands), batched, strict=True)
        ]
        return jax.lax.map(alone, tuple(given)), [True] * len(start)

      # The axis of the map is one more axis of what it maps, by a digit.
      used = {a for axes in (*subscripts, *start_subscripts) for a in axes}
      letter = min(set(string.digits) - used)
      wider = lambda axes, rank: letter + (axes or WHOLE * rank)

      found = self(
        function,
        sweep._replace(codes=codes),
        operands,
        [
          wider(axes, x.ndim - 1) if b else axes
          for axes, x, b in zip(subscripts, operands, batched[1:], strict=True)
        ],
        [Filled((size, *x.shape), x.dtype, x.value) for x in start],
        [
          wider(axes, len(x.shape))
          for axes, x in zip(start_subscripts, start, strict=True)
        ],
        adds=adds,
      )
      return found, [True] * len(found)

    if not self.visits.pairs:
      return [x.made() for x in start]
    return list(run(jnp.asarray(sweep.codes), *map(jnp.asarray, operands)))

  def _walk(
    self,
    function: Callable,
    sweep: Sweep,
    operands: Sequence,
    subscripts: Sequence[Subscripts],
    start: Sequence[Filled],
    start_subscripts: Sequence[Subscripts],
    adds: bool,
  ) -> list[jax.Array]:
    """The same without a batch."""
    if sweep.blocks.rows != 1 or sweep.blocks.heads != 1:
      raise CannotLower(
        f"tiles of {sweep.blocks.rows} batch rows and {sweep.blocks.heads}"
        " heads: a kernel takes them one by one"
      )
    given = [
      GivenArray.of(jnp.shape(x), jnp.result_type(x), axes)
      for x, axes in zip(operands, subscripts, strict=True)
    ]
    sums = [
      GivenArray.of(x.shape, x.dtype, axes)
      for x, axes in zip(start, start_subscripts, strict=True)
    ]
    counts = block_counts(sweep.blocks, [*given, *sums], self.visits)

    found: list = [None] * len(sums)
    for group in grouped(sums, counts, adds):
      results = self._group(
        group, function, sweep, operands, given, sums, start, counts, adds
      )
      for k, x in zip(group.places, results, strict=True):
        found[k] = x
    return found

  def _group(
    self,
    group: Group,
    function: Callable,
    sweep: Sweep,
    operands: Sequence,
    given: list[GivenArray],
    sums: list[GivenArray],
    start: Sequence[Filled],
    counts: dict[str, int],
    adds: bool,
  ) -> list:
    """The sums of one kernel."""
    of_group = [sums[k] for k in group.places]

    def alone(*args):
      results = function(*args)
      return [results[k] for k in group.places]

    programs = {
      kind: tile_program(
        alone if adds else function, sweep, kind, given, sums, adds
      )
      for kind in sweep.kinds
      if kind != EMPTY
    }
    sizes = {"t": sweep.blocks.query, "s": sweep.blocks.key}
    for program in programs.values():
      sizes |= program.sizes
    for x in (*given, *of_group):
      sizes |= {
        n: x.shape[d]
        for n, (d, _) in zip(x.names, x.inner, strict=True)
        if n not in sizes
      }
    order = ("s", "t") if "s" in group.inner else ("t", "s")
    narrow = None if self.narrow is None else jnp.dtype(self.narrow)
    narrowed = narrowed_operands(given, programs, narrow is not None)
    tables = tables_of(self.visits, sweep.codes, group.inner, counts)

    outline = Outline(
      group=group,
      counts=counts,
      axes=Axes(order, sizes),
      heads=sweep.blocks.group,
      operands=given,
      narrowed=narrowed,
      sums=of_group,
      values=[start[k].value for k in group.places],
      programs=programs,
      adds=adds,
      narrow=narrow,
      listed=tables.listed,
      rows=tables.rows,
    )
    source = source_of(outline)
    arrays: list = []
    for k in source.used:
      x = operands[k]
      if narrowed[k]:
        x = x.astype(narrow)
      arrays.append(x.astype(jnp.int8) if x.dtype == bool else x)
    arrays += [tables.bounds, tables.order]
    outs = [_written(outline, k) for k in range(len(of_group))]

    chosen, count = self.chosen[adds], outline.programs_of_grid
    if self.machine is not None:
      check_shared(outline, source.used, self.machine, chosen)
    if self.machine is None:
      found = interpreted(source.text, arrays, outs, count)
    else:
      flops = self._flops(programs, counts)
      found = called(
        source.text, arrays, outs, count, self.machine, chosen, flops
      )
    return [_taken(outline, k, x) for k, x in enumerate(found)]

  def _flops(self, programs: dict, counts: dict[str, int]) -> float:
    """FLOPs of the products of a kernel; unknown tiles count as mixed."""
    # It imports Pallas, which takes a second.
    from attnjax.ops.tiles.kernel_estimate import live_counts, of_tile

    others = math.prod(n for a, n in counts.items() if a in "kg" or a.isdigit())
    live = live_counts(self.visits, counts["b"])
    return sum(
      live[kind] * others * of_tile(program.jaxpr)[0]
      for kind, program in programs.items()
    )


def _written(outline: Outline, k: int) -> jax.ShapeDtypeStruct:
  """What a kernel writes of a sum."""
  x = outline.sums[k]
  if x.inner:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)
  wide = jnp.float32 if x.dtype.itemsize < 4 else x.dtype
  shape = outline.programs_of_grid, outline.shares(k)
  return jax.ShapeDtypeStruct(shape, wide)


def _taken(outline: Outline, k: int, found) -> Any:
  """The sum, of what a kernel wrote."""
  x, group = outline.sums[k], outline.group
  if x.inner:
    return found
  # Blocks count backwards within a program's number, which is no matter here.
  letters = group.own + group.inner
  found = found.reshape([*outline.grid, -1])
  axes = by_head(x.axes)
  others = tuple(d for d, a in enumerate(letters) if a not in axes)
  found = found.sum(others)[..., : x.whole or 1]
  kept = [a for a in letters if a in axes]
  order = [kept.index(a) for a in axes if a in kept]
  found = found.transpose(*order, len(kept))
  return found.reshape(x.shape).astype(x.dtype)
