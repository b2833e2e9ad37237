"""Bicubic resampling of a grid of vectors, such as positions of patches."""

import jax.numpy as jnp
import numpy as np

from attnjax.typing import Array, Float

__all__ = ["resample_grid"]

_SLOPE = -0.75  # of the kernel at distance 1: that of image libraries


def resample_grid(
  grid: Float[Array, "Y X M"], size: tuple[int, int]
) -> Float[Array, "R C M"]:
  """A grid of vectors at another number of rows and columns, bicubically.

      out[i] = Σ_n k(u - n) grid[clip(n, 0, Y - 1)],  u = (i + 1/2) Y / R - 1/2

  along the rows, and then along the columns, over the four n next to u. Cells
  have areas and not points, so that corners do not coincide. There is no
  smoothing before a reduction.

  Args:
    grid: ``Y X M``.
    size: rows R and columns C of the result, at least 1.

  Returns:
    ``R C M`` in the dtype of the grid, summed in float32 or wider.

  Raises:
    ValueError: a size below 1, or an empty grid.

  The size that it has leaves a grid as it is:

  >>> import jax.numpy as jnp
  >>> grid = jnp.arange(6.0).reshape(2, 3, 1)
  >>> bool((resample_grid(grid, (2, 3)) == grid).all())
  True
  >>> resample_grid(grid, (1, 3))[..., 0].tolist()  # the mean of two rows
  [[1.5, 2.5, 3.5]]

  Reference:
    Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981,
    with -3/4 for his a; of positions: Dosovitskiy et al., 2020, arXiv
    2010.11929, section 3.2.
  """
  if min(*size, *grid.shape[:2]) < 1:
    raise ValueError(
      f"resample_grid: sizes must be at least 1, got {list(grid.shape[:2])} to"
      f" {list(size)}"
    )
  wide = jnp.float64 if grid.dtype == jnp.float64 else jnp.float32
  rows, columns = (
    jnp.asarray(_weights(old, new), wide)
    for old, new in zip(grid.shape, size, strict=False)
  )
  out = jnp.einsum(
    "ry,cx,yxm->rcm", rows, columns, grid.astype(wide), precision="highest"
  )
  return out.astype(grid.dtype)


def _weights(old: int, new: int) -> np.ndarray:
  """The matrix ``new old`` that resamples one axis."""
  at = (np.arange(new) + 0.5) * old / new - 0.5
  first = np.floor(at).astype(int)
  weights = np.zeros((new, old))
  for step in (-1, 0, 1, 2):
    # Beyond an edge stands what is at the edge.
    place = np.clip(first + step, 0, old - 1)
    np.add.at(weights, (np.arange(new), place), _kernel(at - first - step))
  return weights


def _kernel(x: np.ndarray) -> np.ndarray:
  """The cubic kernel, 0 beyond a distance of 2."""
  a, x = _SLOPE, np.abs(x)
  near = ((a + 2) * x - (a + 3)) * x * x + 1
  far = (((x - 5) * x + 8) * x - 4) * a
  return np.where(x <= 1, near, np.where(x < 2, far, 0))
