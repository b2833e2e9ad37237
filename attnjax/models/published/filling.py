"""Leaves of a model, filled from published tensors by several threads."""

import functools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Sharding

from attnjax.models.published.places import Tensor, split
from attnjax.typing import DTypeLike

__all__ = ["Source", "filled"]

# What XLA asks of a buffer on a CPU that it takes over without a copy.
_ALIGNMENT = 64


@runtime_checkable
class Source(Protocol):
  """Tensors by name, read when they are asked for, by several threads at once.

  >>> from attnjax.models.published.weights import Weights
  >>> source: Source = Weights({})
  >>> source.names()
  set()
  """

  def names(self) -> set[str]:
    """Names of all tensors."""

  def shape(self, name: str) -> tuple[int, ...]:
    """The shape of a tensor, without reading it."""

  def dtype(self, name: str) -> np.dtype:
    """The dtype of a tensor."""

  def read(self, name: str, out: np.ndarray) -> None:
    """Reads a tensor into a contiguous array of its shape and dtype."""

  def get(self, name: str) -> np.ndarray:
    """A tensor as numpy."""


def filled(
  source: Source,
  tensors: Sequence[Tensor],
  shapes: Mapping[str, tuple[int, ...]],
  dtype: DTypeLike | None,
  places: Mapping[str, Sharding | None],
) -> dict[str, jax.Array]:
  """Leaves by path, each read where it stays.

  A tensor that lies in its file as in the leaf is read into the leaf; another
  is read into memory that its thread has at hand, and turned from there while
  it is in the cache. XLA takes the leaves over as they are where it can, on a
  CPU: a process then has beside them one tensor a thread.

  Args:
    source: of the tensors, by their names there.
    tensors: every one of the model.
    shapes: of the leaves.
    dtype: of the leaves; None is that of the files.
    places: the sharding of each leaf; None is JAX's default device.

  >>> from attnjax.models.published.weights import Weights
  >>> filled(Weights({}), [], {}, None, {})
  {}
  """
  found: dict[str, jax.Array] = {}
  with ThreadPoolExecutor(_threads()) as pool:
    for group in _groups(tensors, _taken_over(places)):
      leaves = _empty(source, group, shapes, dtype)
      # The largest first, so that no thread has one left when others end.
      size = lambda tensor: -math.prod(source.shape(tensor.name))
      fill = functools.partial(_fill, source, leaves)
      # A list, so that what a thread raises is raised.
      list(pool.map(fill, sorted(group, key=size)))

      for name in [*leaves]:
        found[name] = _placed(leaves.pop(name), places[name])
  return found


def _threads() -> int:
  """How many tensors are read and turned at once."""
  return min(8, os.cpu_count() or 1)


def _taken_over(places: Mapping[str, Sharding | None]) -> bool:
  """Whether the memory that leaves are read into is that of JAX's arrays."""
  default = all(place is None for place in places.values())
  return default and jax.default_backend() == "cpu"


def _groups(tensors: Sequence[Tensor], whole: bool) -> Iterable[list[Tensor]]:
  """Tensors that are read before their leaves are placed.

  All of a model, or those of the same leaves: what devices have or get their
  shards of is not held twice.
  """
  found: dict[tuple[str, ...], list[Tensor]] = {}
  for tensor in tensors:
    found.setdefault(() if whole else tensor.ours, []).append(tensor)
  return found.values()


def _empty(source, group, shapes, dtype) -> dict[str, np.ndarray]:
  """Memory of the leaves that some tensors fill."""
  dtypes: dict[str, set] = {}
  for tensor in group:
    for name in tensor.ours:
      dtypes.setdefault(name, set()).add(source.dtype(tensor.name))
  leaves = {}
  for name, theirs in dtypes.items():
    given = functools.reduce(np.promote_types, theirs)
    ours = jax.dtypes.canonicalize_dtype(given if dtype is None else dtype)
    leaves[name] = _aligned(shapes[name], ours)

  for tensor in group:
    for name in tensor.ours:
      for block in tensor.place.without:
        leaves[name][block] = 1
  return leaves


def _aligned(shape: tuple[int, ...], dtype) -> np.ndarray:
  """An array of no values that begins at a multiple of the alignment."""
  size = dtype.itemsize * math.prod(shape)
  room = np.empty(size + _ALIGNMENT, np.uint8)
  start = -room.ctypes.data % _ALIGNMENT
  return room[start : start + size].view(dtype).reshape(shape)


def _fill(source: Source, leaves: dict[str, np.ndarray], tensor: Tensor):
  """Reads one tensor into its places within the leaves."""
  parts = [leaves[name][tensor.at] for name in tensor.ours]
  whole = parts[0]
  if (
    len(parts) == 1
    and not tensor.turned
    and source.dtype(tensor.name) == whole.dtype
  ):
    source.read(tensor.name, whole.reshape(source.shape(tensor.name)))
    return
  array = source.get(tensor.name)
  pieces = split(tensor, array, [part.shape for part in parts])
  for part, piece in zip(parts, pieces, strict=True):
    np.copyto(part, piece, casting="unsafe")


def _placed(leaf: np.ndarray, sharding: Any) -> jax.Array:
  """A leaf on its devices; a device that has a shard gets no more."""
  if sharding is None:
    # Nobody else has the memory, which a CPU takes over.
    return jax.device_put(leaf).block_until_ready()
  placed = jax.make_array_from_callback(
    leaf.shape, sharding, lambda index: leaf[index]
  )
  return placed.block_until_ready()
