"""A problem: one call of attention as plain data, which draws its arrays.

Every array is drawn from a generator of its own name, so that one more array
in a problem changes none of the others.
"""

import dataclasses
import zlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from attnjax.testing import mask_descriptions
from attnjax.testing.mask_descriptions import Coordinates
from attnjax.testing.parts import NORMALIZERS, SCORE_MODS, SCORINGS

__all__ = ["Problem"]

_PARTS: dict[str, dict[str, Any]] = {
  "scoring": SCORINGS,
  "score_mod": SCORE_MODS,
  "normalizer": NORMALIZERS,
}
_ARRAYS = {"query": "B T H D", "key": "B S K D", "value": "B S K E"}
_SEGMENTS = ("query_segment_ids: B T", "key_segment_ids: B S")


@dataclasses.dataclass(frozen=True)
class Problem:
  """One call of attention as plain data, which draws its own arrays.

  Args:
    batch: batch axes.
    length: T, queries.
    keys: S, keys.
    heads: H, query heads.
    shared: K, key heads.
    width: D.
    value_width: E.
    dtype: of query, key and value; captured arrays and bias are float32, or
      float64 where dtype is.
    mask: a description, see `mask_descriptions`; None hides nothing.
    array_mask: axes of a boolean array given as ``mask=`` instead.
    bias: axes of a bias, such as "H T S" or "1 S"; None adds none.
    hidden_bias: whether a part of the bias is -inf.
    scoring: a name of `attnjax.testing.parts`; None leaves it to the default.
    score_mod: likewise.
    normalizer: likewise.
    positions: "decode", "negative", "repeated" or "permuted"; None is default.
    segments: whether segment ids are given.
    traced: whether masks' arrays, positions and ids are known only at run time.
    scale: of queries and keys, each.
    offset: added to values, so that their sums do not cancel.
    huge: entries of the last key and value; None draws them as the others.
    aux: names of the results beside the output.
    dropout_rate: share of weights to drop.
    seed: of the generators of all arrays.

  >>> problem = Problem(mask=("causal",), length=3, keys=3)
  >>> sorted(problem.floats()), problem.visible({})[0, 0].astype(int).tolist()
  (['key', 'query', 'value'], [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
  """

  # Sizes differ, most of them primes, so that no transposed axis passes. Query
  # heads are a multiple of the key heads.
  batch: tuple[int, ...] = (5,)
  length: int = 13
  keys: int = 17
  heads: int = 6
  shared: int = 2
  width: int = 7
  value_width: int = 11
  dtype: str = "float32"
  mask: tuple | None = None
  array_mask: str | None = None
  bias: str | None = None
  hidden_bias: bool = False
  scoring: str | None = None
  score_mod: str | None = None
  normalizer: str | None = None
  positions: str | None = None
  segments: bool = False
  traced: bool = False
  scale: float = 1.0
  offset: float = 0.0
  huge: float | None = None
  aux: tuple[str, ...] = ("logsumexp",)
  dropout_rate: float = 0.0
  seed: int = 0

  @property
  def x64(self) -> bool:
    """Whether JAX must have x64 enabled: for float64."""
    return self.dtype == "float64"

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape ``*B H T S`` of the logits."""
    return (*self.batch, self.heads, self.length, self.keys)

  def part(self, role: str):
    """The scoring, score mod or normalizer, or None for the default."""
    name = getattr(self, role)
    return None if name is None else _PARTS[role][name]

  def sizes(self, axes: str) -> tuple[int, ...]:
    """The shape of axis letters; a digit is a size."""
    # A, the hidden width of additive scoring, and N, the length of tables, are
    # no fields: no law depends on them.
    size = {"T": self.length, "S": self.keys, "H": self.heads, "A": 3, "N": 14}
    size |= {"K": self.shared, "D": self.width, "E": self.value_width}
    found: list[int] = []
    for axis in axes.split():
      if axis == "B":
        found.extend(self.batch)
      else:
        found.append(int(axis) if axis.isdigit() else size[axis])
    return tuple(found)

  def axes(self, name: str) -> str:
    """Axis letters of an array, by its name."""
    lines = [f"{n}: {axes}" for n, axes in _ARRAYS.items()]
    lines += [f"bias: {self.bias}", *self._int_lines()]
    for role in _PARTS:
      for line in getattr(self.part(role), "arrays", ()):
        lines.append(f"{role} {line.removeprefix('+')}")
    return dict(map(_split, lines))[name]

  def floats(self) -> dict[str, np.ndarray]:
    """Every differentiable array, by name."""
    draw = lambda name, axes: _normal(self.seed, name, self.sizes(axes))
    found = {name: draw(name, axes) for name, axes in _ARRAYS.items()}
    found |= {n: found[n] * self.scale for n in ("query", "key")}
    found["value"] = found["value"] + self.offset
    # The last key and value, which the mask of such a problem hides.
    if self.huge is not None:
      for name in ("key", "value"):
        found[name][..., -1, :, :] = self.huge
    # Rounded last, after scale and offset: the float64 oracle gets these
    # numbers.
    found = {n: x.astype(jnp.dtype(self.dtype)) for n, x in found.items()}

    # Biases and captured arrays stay wide where queries are bfloat16.
    other = np.float64 if self.x64 else np.float32
    if self.bias is not None:
      bias = draw("bias", self.bias)
      # A generator of its own: what is hidden changes no other entry of the
      # bias.
      chance = _generator(self.seed, "hidden").random(bias.shape)
      hidden = self.hidden_bias & (chance < 0.4)
      found["bias"] = np.where(hidden, -np.inf, bias).astype(other)

    for role in _PARTS:
      for name, axes in map(_split, getattr(self.part(role), "arrays", ())):
        plain = f"{role} {name.removeprefix('+')}"
        found[plain] = draw(name, axes).astype(other)
    return found

  def ints(self) -> dict[str, np.ndarray]:
    """Every array of integers and booleans, by name."""
    found = {}
    for name, axes in map(_split, self._int_lines()):
      most = self.length if name == "query_lengths" else self.keys
      shape = self.sizes(axes)
      found[name] = _integers(self.seed, name, shape, most)
    return found | _positions(
      self.seed, self.positions, self.batch, self.length, self.keys
    )

  def _int_lines(self) -> list[str]:
    """``name: axes`` of the integers and booleans, positions aside."""
    lines = list(
      () if self.mask is None else mask_descriptions.captured_arrays(self.mask)
    )
    lines += _SEGMENTS if self.segments else ()
    if self.array_mask is not None:
      lines.append(f"mask: {self.array_mask}")
    return lines

  def where(self, ints: dict) -> Coordinates:
    """Coordinates of all logits.

    Args:
      ints: the arrays of `ints`, by name.
    """
    *batch, heads, length, keys = self.shape
    rank = len(self.shape)
    rows = int(np.prod(batch))
    on = lambda n, axis: np.arange(n, dtype=np.int32).reshape(
      [-1 if a == axis else 1 for a in range(rank)]
    )
    along = lambda x, query: np.expand_dims(
      x.reshape((1,) * (rank - 2 - x.ndim) + x.shape),
      (-3, -1) if query else (-3, -2),
    )

    i, j = on(length, rank - 2), on(keys, rank - 1)
    q, k = ints.get("query_positions"), ints.get("key_positions")
    return Coordinates(
      np.arange(rows, dtype=np.int32).reshape(*batch, 1, 1, 1),
      on(heads, rank - 3),
      i if q is None else along(q, True),
      j if k is None else along(k, False),
      i,
      j,
    )

  def visible(self, ints: dict) -> np.ndarray:
    """bool ``*B H T S``, the keys that a query sees, the bias left out.

    Args:
      ints: the arrays of `ints`, by name.
    """
    where = self.where(ints)
    seen = np.ones((), bool)
    if self.mask is not None:
      seen = seen & mask_descriptions.visibility(self.mask, where, ints)

    if "mask" in ints:
      seen = seen & ints["mask"]

    if self.segments:
      ids = ints["query_segment_ids"], ints["key_segment_ids"]
      seen = seen & (ids[0][..., None, :, None] == ids[1][..., None, None, :])

    return np.broadcast_to(seen, self.shape)


def _split(line: str) -> tuple[str, str]:
  """(name, axes) of a line ``name: axes``."""
  name, axes = line.split(":")
  return name, axes


def _generator(seed: int, name: str) -> np.random.Generator:
  """The random generator of one array."""
  # Not hash(): it differs between processes.
  return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _normal(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
  """Normal numbers; at least 1/2 if the name begins with +."""
  drawn = np.asarray(_generator(seed, name).standard_normal(shape))
  return np.asarray(0.5 + np.abs(drawn)) if name.startswith("+") else drawn


def _integers(
  seed: int, name: str, shape: tuple[int, ...], most: int
) -> np.ndarray:
  """Integers that fit a name: sorted ids, shifts, lengths, boolean tables."""
  rng = _generator(seed, name)
  if name == "mask" or name.startswith("table"):
    return rng.random(shape) < 0.6
  if name.endswith("_ids"):
    # Sorted, as packed documents follow one another.
    return np.sort(rng.integers(0, 4, shape), axis=-1).astype(np.int32)
  if name == "shift":
    return rng.integers(-2, 3, shape, dtype=np.int32)

  drawn = rng.integers(0, most + 1, shape, dtype=np.int32)
  # Lengths always include the extremes, everything and nothing.
  drawn.reshape(-1)[:2] = np.array([most, 0])[: drawn.size]
  return drawn


def _positions(
  seed: int, kind: str | None, batch: tuple[int, ...], length: int, keys: int
) -> dict[str, np.ndarray]:
  """Positions of queries and keys of one kind; nothing for None.

  Raises:
    ValueError: for a kind that is none of these.
  """
  query, key = (np.arange(n, dtype=np.int32) for n in (length, keys))
  rows = lambda x: np.broadcast_to(x, (*batch, x.shape[-1])).copy()
  match kind:
    case None:
      return {}
    case "decode":
      return {"query_positions": query + np.int32(keys - length)}
    case "negative":
      start = _generator(seed, "start").integers(-9, 9, (*batch, 1))
      start = start.astype(np.int32)
      found = rows(query) + start - 4, rows(key) + start - 7
    case "repeated":
      found = rows(query) // 2, rows(key) // 3
    case "permuted":
      shuffle = lambda x: _generator(seed, "order").permuted(rows(x), axis=-1)
      found = shuffle(query), shuffle(key)
    case _:
      raise ValueError(
        f"positions must be 'decode', 'negative', 'repeated', 'permuted' or"
        f" None, got {kind!r}"
      )

  return dict(zip(("query_positions", "key_positions"), found, strict=True))
