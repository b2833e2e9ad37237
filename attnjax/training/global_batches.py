"""Batches as global arrays on a mesh; each process reads only its own rows."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnjax.training.partition import common_mesh
from attnjax.typing import PyTree

__all__ = [
  "ROWS",
  "GlobalBatches",
  "ReadsRows",
  "check_shares",
  "process_rows",
  "put_batch",
  "put_batch_like",
]


ROWS = ("data", "fsdp")  # the mesh axes over which rows are sharded


@runtime_checkable
class ReadsRows(Protocol):
  """A source of batches that can read some rows without the others."""

  batch_size: int

  def rows(self, step: int, start: int, stop: int) -> PyTree:
    """Rows `start` to `stop - 1` of the batch of a step."""


@dataclasses.dataclass(frozen=True, eq=False)
class GlobalBatches:
  """The batches of a run as global arrays: `global_batches(step)`.

  The order of the data is a function of the step alone, whatever the number
  of processes: a run goes on on another number of them with the next batch.

  Args:
    batches: updates done before -> the whole batch. Where it can read `rows`
      each process reads its own only.
    mesh: with the axes of `AXES`.
    microbatches: parts of a batch that are trained on one after the other;
      of each every device has as many rows.

  Raises:
    ValueError: at the call, an axis of the mesh does not divide the rows or
      the tokens.

  >>> import numpy as np
  >>> from attnjax.parallel import make_mesh
  >>> mesh = make_mesh(data=4, fsdp=1, tensor=1, sequence=2)
  >>> batches = GlobalBatches(lambda step: {"tokens": np.full((8, 6), 1)}, mesh)
  >>> tokens = batches(3)["tokens"]
  >>> tokens.shape, tokens.addressable_shards[0].data.shape
  ((8, 6), (2, 3))
  """

  batches: Callable[[int], PyTree]
  mesh: Mesh
  microbatches: int = 1

  def __call__(self, step: int) -> PyTree:
    """The batch of a step, sharded over the mesh."""
    if jax.process_count() == 1 or not isinstance(self.batches, ReadsRows):
      batch = self.batches(step)
      self._check(jax.tree.leaves(batch)[0].shape[0])
      return put_batch(batch, self.mesh)
    size = self.batches.batch_size
    self._check(size)
    # Only the rows of this process's devices are read.
    start, stop = process_rows(size, self.mesh)
    part = self.batches.rows(step, start, stop)
    return put_batch(part, self.mesh, rows=size, start=start)

  def _check(self, rows: int) -> None:
    """Refuses microbatches that do not divide the rows of each device."""
    check_shares(self.mesh.shape, rows, microbatches=self.microbatches)


def check_shares(
  sizes: Mapping[str, int],
  rows: int,
  *,
  length: int | None = None,
  microbatches: int = 1,
) -> None:
  """Refuses a batch whose rows or tokens the axes of a mesh do not divide.

  The mesh need not exist: a plan for other devices is checked by its sizes.

  Args:
    sizes: of the axes of the mesh, by name.
    rows: of a batch.
    length: tokens of a row; None where rows are of something else.
    microbatches: parts of a batch that are trained on one after the other.

  Raises:
    ValueError: devices would have different numbers of rows, of tokens, or of
      rows in a microbatch.

  >>> check_shares({"data": 4, "fsdp": 2, "sequence": 1}, 16, microbatches=4)
  Traceback (most recent call last):
  ValueError: train.microbatches=4: expected a number that divides the 2 rows
  that each of 8 devices has (mesh.data=4 x mesh.fsdp=2); choose a divisor, or
  another batch size
  """
  count = math.prod(sizes[axis] for axis in ROWS)
  if rows % count:
    raise ValueError(_uneven("a batch", sizes, ROWS, rows, "rows"))
  if length is not None and length % sizes["sequence"]:
    raise ValueError(_uneven("a row", sizes, ("sequence",), length, "tokens"))

  if rows % (count * microbatches):
    raise ValueError(
      f"train.microbatches={microbatches}: expected a number that"
      f" divides the {rows // count} rows that each of {count} devices has"
      f" ({_axes_text(sizes, ROWS)}); choose a divisor, or another batch"
      " size"
    )


def put_batch(
  batch: PyTree,
  mesh: Mesh | None,
  *,
  rows: int | None = None,
  start: int = 0,
  strict: bool = True,
) -> PyTree:
  """Shards a batch over a mesh: rows over `ROWS`, tokens over `sequence`.

  Args:
    batch: arrays ``B ...`` or ``B T ...``; of each the whole, or some rows.
    mesh: with the axes of `AXES`; None leaves the batch as it is.
    rows: of the whole batch; None: the arrays are whole.
    start: the first of the rows that the arrays hold.
    strict: whether an axis that cannot be divided is an error; otherwise it
      is replicated, and every device computes all of it.

  Raises:
    ValueError: an axis of the mesh does not divide the rows or the tokens.
  """
  if mesh is None:
    return batch

  def one(path: Any, x: Any) -> jax.Array:
    # float64 and int64 of numpy become what JAX holds before any copy is sent.
    x = np.asarray(x)
    x = x.astype(jax.dtypes.canonicalize_dtype(x.dtype), copy=False)
    shape = x.shape if rows is None else (rows, *x.shape[1:])
    spec = _spec(jax.tree_util.keystr(path), shape, mesh, strict)
    place = NamedSharding(mesh, spec)
    if jax.process_count() == 1:
      return jax.device_put(x, place)

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
      # A scalar has no rows to cut.
      if not index:
        return x
      first, stop, _ = index[0].indices(shape[0])
      return x[(slice(first - start, stop - start), *index[1:])]

    return jax.make_array_from_callback(shape, place, part)

  return jax.tree_util.tree_map_with_path(one, batch)


def put_batch_like(params: PyTree) -> Callable[[PyTree], PyTree]:
  """Shards batches over the mesh of some parameters, if they are on one.

  Uneven batches are replicated: the last batch of an evaluation may be short.
  """
  mesh = common_mesh(params)
  return lambda batch: put_batch(batch, mesh, strict=False)


def process_rows(size: int, mesh: Mesh) -> tuple[int, int]:
  """`(start, stop)` of the rows that the devices of this process have."""
  place = NamedSharding(mesh, PartitionSpec(ROWS))
  parts = place.addressable_devices_indices_map((size,)).values()
  ends = [index[0].indices(size) for index in parts if index is not None]
  return min(end[0] for end in ends), max(end[1] for end in ends)


def _spec(
  name: str, shape: tuple[int, ...], mesh: Mesh, strict: bool
) -> PartitionSpec:
  """PartitionSpec of one array: rows over `ROWS`, tokens over sequence."""
  axes = (ROWS, ("sequence",))[: len(shape)]
  spec: list[Any] = []

  for over, size, what in zip(axes, shape, ("rows", "tokens"), strict=False):
    count = math.prod(mesh.shape[axis] for axis in over)
    # Replicated where it is not divisible and `strict` is off.
    if size % count == 0:
      spec.append(over)
    elif not strict:
      spec.append(None)
    else:
      raise ValueError(_uneven(f"batch{name}", mesh.shape, over, size, what))

  return PartitionSpec(*spec)


def _uneven(
  name: str,
  sizes: Mapping[str, int],
  axes: tuple[str, ...],
  size: int,
  what: str,
) -> str:
  """Error message: axes of a mesh that do not divide rows or tokens."""
  count = math.prod(sizes[axis] for axis in axes)
  return (
    f"{name}: {_axes_text(sizes, axes)} does not divide its {size} {what};"
    f" choose a divisor for the mesh, or"
    f" {'a batch size' if what == 'rows' else 'a length'} that {count} divides"
  )


def _axes_text(sizes: Mapping[str, int], axes: tuple[str, ...]) -> str:
  """Axes and sizes in words, as in `mesh.data=4 x mesh.fsdp=2`."""
  return " x ".join(f"mesh.{axis}={sizes[axis]}" for axis in axes)
