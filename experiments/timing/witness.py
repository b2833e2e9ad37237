"""Witnesses: a few values of each result, by which contenders are compared.

numpy alone: the PyTorch process makes them too, and has no JAX.
"""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["difference", "sample"]

# As many as fit a line of JSON between the processes, and reach all of a row.
_SAMPLED = 64


def sample(array: np.ndarray) -> list[float]:
  """Up to 64 values of an array of any shape, evenly spaced.

  >>> import numpy as np
  >>> sample(np.arange(64.0).reshape(8, 8))[:3]
  [0.0, 1.0, 2.0]
  """
  flat = array.reshape(-1)
  index = np.linspace(0, flat.size - 1, _SAMPLED).astype(np.int64)
  return [float(value) for value in flat[index]]


def difference(
  theirs: Sequence[Sequence[float]], ours: Sequence[Sequence[float]]
) -> float:
  """Largest error of a witness, relative to the largest value of each array.

  What is not finite differs infinitely.

  Raises:
    ValueError: they are of different numbers of arrays.

  >>> difference([[100.0, 1.0]], [[100.0, 2.0]])
  0.01
  """
  if len(theirs) != len(ours):
    raise ValueError(
      f"witnesses: {len(theirs)} arrays cannot be compared with {len(ours)}"
    )

  worst = 0.0
  for their, our in zip(theirs, ours, strict=True):
    scale = max(map(abs, our)) or 1.0
    for x, y in zip(their, our, strict=True):
      far = abs(x - y) / scale
      # `max` would drop a NaN, which is false in every comparison.
      worst = max(worst, far if math.isfinite(far) else math.inf)
  return worst
