"""The picture of a page whose tokens are patches of it."""

import base64
import zlib
from typing import Any

import numpy as np

__all__ = ["patch_tokens", "picture_data"]


def patch_tokens(
  rows: int, columns: int, before: tuple[str, ...] = ("class",)
) -> list[str]:
  """Names of the tokens of an image: those in front, and its patches.

  A patch is named by its row and column.

  Args:
    rows: patches down the image.
    columns: patches across.
    before: names of the tokens that stand in front, such as the class token.

  >>> patch_tokens(1, 2)
  ['class', 'r0c0', 'r0c1']
  """
  return [
    *before,
    *(f"r{y}c{x}" for y in range(rows) for x in range(columns)),
  ]


def picture_data(
  image: Any, patches: tuple[int, int], tokens: int
) -> dict[str, Any]:
  """What a page carries of an image: its pixels in 8 bits, and its patches.

  Args:
    image: ``Y X``, ``Y X 1`` or ``Y X 3``: integers 0 to 255, or floats, of
      which the least is shown black and the largest white.
    patches: (rows, columns) of patches.
    tokens: how many there are; the last rows x columns are the patches.

  Raises:
    ValueError: the image has another shape, is empty or not finite, or there
      are fewer tokens than patches.

  >>> import numpy as np
  >>> picture_data(np.zeros((4, 6)), (2, 3), 7)["before"]
  1
  """
  pixels = np.asarray(image)
  if pixels.ndim == 2:
    pixels = pixels[..., None]
  if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3) or 0 in pixels.shape:
    raise ValueError(
      f"image must be Y X, Y X 1 or Y X 3, got shape {list(np.shape(image))}"
    )

  rows, columns = patches
  if not 1 <= rows * columns <= tokens:
    raise ValueError(
      f"patches must be some of the {tokens} tokens, got {rows} x {columns}"
    )

  if not np.issubdtype(pixels.dtype, np.integer):
    pixels = pixels.astype(np.float64)
    if not np.isfinite(pixels).all():
      raise ValueError("image must be finite")
    low, high = pixels.min(), pixels.max()
    pixels = np.rint(255 * (pixels - low) / max(high - low, 1e-12))
  elif pixels.min() < 0 or pixels.max() > 255:
    raise ValueError(
      "image of integers must be 0 to 255, got"
      f" {pixels.min()} to {pixels.max()}; give floats, which are scaled"
    )

  height, width, _ = pixels.shape
  colours = np.broadcast_to(pixels.astype(np.uint8), (height, width, 3))
  squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
  data = squeeze.compress(colours.tobytes()) + squeeze.flush()
  return {
    "width": width,
    "height": height,
    "packed": base64.b64encode(data).decode("ascii"),
    "rows": rows,
    "columns": columns,
    "before": tokens - rows * columns,
  }
