"""Arrays of a problem, drawn by name: one more moves none of the others."""

import zlib

import numpy as np

__all__ = ["integers", "normal", "placed", "random"]


def random(seed: int, name: str) -> np.random.Generator:
  """Numbers of one array alone."""
  return np.random.default_rng([seed, zlib.crc32(name.encode())])


def normal(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
  """Normal numbers; of a name that begins with + at least 1/2."""
  drawn = np.asarray(random(seed, name).standard_normal(shape))
  return np.asarray(0.5 + np.abs(drawn)) if name.startswith("+") else drawn


def integers(
  seed: int, name: str, shape: tuple[int, ...], most: int
) -> np.ndarray:
  """Ids in runs, lengths from nothing to `most`, tables of booleans."""
  rng = random(seed, name)
  if name == "mask" or name.startswith("table"):
    return rng.random(shape) < 0.6
  if name.endswith("_ids"):
    return np.sort(rng.integers(0, 4, shape), axis=-1).astype(np.int32)
  if name == "shift":
    return rng.integers(-2, 3, shape, dtype=np.int32)
  drawn = rng.integers(0, most + 1, shape, dtype=np.int32)
  # The edges are where mistakes are made: nothing, and everything.
  drawn.reshape(-1)[:2] = np.array([most, 0])[: drawn.size]
  return drawn


def placed(
  seed: int, kind: str | None, batch: tuple[int, ...], length: int, keys: int
) -> dict[str, np.ndarray]:
  """Positions of queries and keys; none where none are given.

  Raises:
    ValueError: for a kind there is not.
  """
  query, key = (np.arange(n, dtype=np.int32) for n in (length, keys))
  rows = lambda x: np.broadcast_to(x, (*batch, x.shape[-1])).copy()
  match kind:
    case None:
      return {}
    case "decode":
      return {"query_positions": query + np.int32(keys - length)}
    case "negative":
      start = random(seed, "start").integers(-9, 9, (*batch, 1))
      start = start.astype(np.int32)
      found = rows(query) + start - 4, rows(key) + start - 7
    case "repeated":
      found = rows(query) // 2, rows(key) // 3
    case "permuted":
      shuffle = lambda x: random(seed, "order").permuted(rows(x), axis=-1)
      found = shuffle(query), shuffle(key)
    case _:
      raise ValueError(
        f"positions must be 'decode', 'negative', 'repeated', 'permuted' or"
        f" None, got {kind!r}"
      )
  return dict(zip(("query_positions", "key_positions"), found, strict=True))
