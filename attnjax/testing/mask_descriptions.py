"""Descriptions of masks as nested tuples, each with a definition in numpy.

A description is a nested tuple such as ``("and", ("causal",), ("window", 3,
1))``: it can be printed, hashed and drawn at random. `build` makes the mask of
attnjax; `visibility` computes the same mask in numpy, without attnjax.
"""

from typing import NamedTuple

import numpy as np

from attnjax import masks

__all__ = ["Coordinates", "build", "captured_arrays", "visibility"]

# The integer arrays that a kind of mask captures, with their axes.
_NEEDS = {
  "prefix": ("prefix: B",),
  "lengths": ("query_lengths: B", "key_lengths: B"),
  "query_lengths": ("query_lengths: B",),
  "key_lengths": ("key_lengths: B",),
  "segments": ("query_ids: B T", "key_ids: B S"),
  "shifted": ("shift: H",),
}
_COMPOSED = ("and", "or", "not")


class Coordinates(NamedTuple):
  """Coordinates of logits, each broadcasting to ``*B H T S``.

  Batch row, head, query and key position, query and key index.
  """

  b: np.ndarray
  h: np.ndarray
  q: np.ndarray
  k: np.ndarray
  i: np.ndarray
  j: np.ndarray


# A tuple of strings, but not annotated so: beartype checks an item at random,
# with the module `random`, and hypothesis takes that for a flaky strategy.
def captured_arrays(description: tuple) -> tuple:
  """The arrays that a description captures, as ``"name: axes"``."""
  kind, *rest = description
  if kind in _COMPOSED:
    found = [name for part in rest for name in captured_arrays(part)]
    return tuple(dict.fromkeys(found))
  if kind == "dense":
    return (f"table {rest[0]}: {rest[0]}",)
  return _NEEDS.get(kind, ())


def build(description: tuple, ints: dict) -> masks.Mask:
  """Builds the mask of attnjax from its description.

  Args:
    description: of the mask.
    ints: the arrays of `captured_arrays`, by name.
  """
  match description:
    case ("and", left, right):
      return build(left, ints) & build(right, ints)
    case ("or", left, right):
      return build(left, ints) | build(right, ints)
    case ("not", inner):
      return ~build(inner, ints)
    case ("full" | "causal" as kind,):
      return getattr(masks, kind)()
    case ("window", left, right):
      return masks.sliding_window(left, right)
    case ("dilated" | "chunked" as kind, size):
      return getattr(masks, kind)(size)

  return _build_captured(description, ints)


def _build_captured(description: tuple, ints: dict) -> masks.Mask:
  """`build`, of masks that capture arrays or functions."""
  match description:
    case ("prefix",):
      return masks.prefix(ints["prefix"])
    case ("lengths",):
      return masks.lengths(ints["query_lengths"], ints["key_lengths"])
    case ("query_lengths",):
      return masks.lengths(query=ints["query_lengths"])
    case ("key_lengths",):
      return masks.lengths(key=ints["key_lengths"])
    case ("segments",):
      return masks.segments(ints["query_ids"], ints["key_ids"])
    case ("shifted",):
      return masks.from_fn(_shifted, ints["shift"])
    case ("striped",):
      return masks.from_fn(_striped)
    case ("dense", axes):
      return masks.dense(ints[f"table {axes}"])

  raise ValueError(f"no mask is described by {description!r}")


def visibility(description: tuple, where: Coordinates, ints: dict):
  """bool, broadcasts to ``*B H T S``: whether the query may see the key.

  Args:
    description: of the mask.
    where: coordinates of the logits.
    ints: the arrays of `captured_arrays`, by name.
  """
  match description:
    case ("and", left, right):
      return visibility(left, where, ints) & visibility(right, where, ints)
    case ("or", left, right):
      return visibility(left, where, ints) | visibility(right, where, ints)
    case ("not", inner):
      return np.logical_not(visibility(inner, where, ints))
    case ("full",):
      return np.ones((), bool)
    case ("causal",):
      return where.k <= where.q
    case ("window", left, right):
      return (where.k >= where.q - left) & (where.k <= where.q + right)
    case ("dilated", stride):
      return (where.q - where.k) % stride == 0
    case ("chunked", size):
      # Floor division: chunks of negative positions have full size too.
      return where.q // size == where.k // size

  return _visibility_captured(description, where, ints)


def _visibility_captured(description: tuple, where: Coordinates, ints: dict):
  """`visibility`, of masks that capture arrays or functions."""
  b, h, q, k, i, j = where
  match description:
    case ("prefix",):
      return k < _row(ints["prefix"], b)
    case ("lengths",):
      hidden = i >= _row(ints["query_lengths"], b)
      return ~hidden & (j < _row(ints["key_lengths"], b))
    case ("query_lengths",):
      return i < _row(ints["query_lengths"], b)
    case ("key_lengths",):
      return j < _row(ints["key_lengths"], b)
    case ("segments",):
      x, has_x = _looked_up(ints["query_ids"], b, q)
      y, has_y = _looked_up(ints["key_ids"], b, k)
      return has_x & has_y & (x == y)
    case ("shifted",):
      return _shifted(b, h, q, k, ints["shift"])
    case ("striped",):
      return _striped(b, h, q, k)
    case ("dense", axes):
      return _in_table(ints[f"table {axes}"], where)

  raise ValueError(f"no mask is described by {description!r}")


def _shifted(b, h, q, k, shift):
  """A causal mask with an offset for each head."""
  return k <= q + shift[h]


def _striped(b, h, q, k):
  """A mask that depends on batch row, head, query and key position."""
  return (q + 2 * k + b + h) % 3 != 0


def _row(x: np.ndarray, b: np.ndarray) -> np.ndarray:
  """The entry of batch row b."""
  return x.reshape(-1)[b]


def _looked_up(ids: np.ndarray, b, position):
  """Segment ids by position, as (id, whether there is an entry)."""
  size = ids.shape[-1]
  has = (position >= 0) & (position < size)
  if size == 0:
    return np.zeros_like(position), has
  ids = ids.reshape(-1, size)
  # Clipped, for an index below 0 would wrap to the end; `has` hides the entry.
  return ids[b, np.clip(position, 0, size - 1)], has


def _in_table(table: np.ndarray, where: Coordinates):
  """The entry of a table at (b, h, q, k); false outside of it."""
  if table.size == 0:
    return np.zeros((), bool)

  # "T S" and "H T S" get leading axes of size 1, which stand for every row or
  # head.
  table = table.reshape((1,) * (3 - table.ndim) + table.shape)
  table = table.reshape(-1, *table.shape[-3:])
  inside, place = np.ones((), bool), []

  for x, size in zip(where[:4], table.shape, strict=True):
    if size == 1:
      place.append(np.zeros_like(x))
    else:
      inside = inside & (x >= 0) & (x < size)
      place.append(np.clip(x, 0, size - 1))

  return table[tuple(place)] & inside
