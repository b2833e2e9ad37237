"""Patterns of heads as pixels, for where no figure is drawn: TensorBoard."""

from typing import Any

import numpy as np

from attnjax.viz.style import SHADES

__all__ = ["head_pixels"]

_SIDE = 96  # pixels of a head, about
_GAP = 3


def head_pixels(weights: Any) -> np.ndarray:
  """One layer's heads side by side, white where the weight is 0.

  Each head is as dark as its own largest weight. Of a matrix with more queries
  or keys than pixels, a pixel is the largest of its weights, so that lines stay
  lines.

  Args:
    weights: ``H T S``, at least 0, none of the axes empty.

  Returns:
    uint8 ``Y X 3``.

  Raises:
    ValueError: weights have other axes.

  >>> import numpy as np
  >>> head_pixels(np.eye(4)[None]).shape
  (96, 96, 3)
  """
  array = np.asarray(weights).astype(np.float64)
  if array.ndim != 3 or 0 in array.shape:
    raise ValueError(
      f"weights must be H T S with no axis empty, got {list(array.shape)}"
    )
  stops = np.array(
    [[int(x[i : i + 2], 16) for i in (1, 3, 5)] for x in SHADES], float
  )
  places = np.linspace(0, 1, len(SHADES))
  parts = []

  for head in array:
    shade = _resized(_resized(head, 0), 1) / (head.max() or 1.0)
    colours = [np.interp(shade, places, channel) for channel in stops.T]
    parts.append(np.rint(np.stack(colours, -1)).astype(np.uint8))
    parts.append(np.full((shade.shape[0], _GAP, 3), 200, np.uint8))

  return np.concatenate(parts[:-1], 1)


def _resized(matrix: np.ndarray, axis: int) -> np.ndarray:
  """Each row repeated, or the largest of several rows."""
  count = matrix.shape[axis]
  if count <= _SIDE:
    return matrix.repeat(_SIDE // count, axis)
  starts = np.arange(_SIDE) * count // _SIDE
  return np.maximum.reduceat(matrix, starts, axis)
