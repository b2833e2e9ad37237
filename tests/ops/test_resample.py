"""Bicubic resampling of a grid: laws, and PyTorch's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.ops.resample import resample_grid

Y, X, M = 5, 7, 3
SIZES = [(5, 7), (1, 1), (2, 3), (11, 4), (13, 29)]


def grid(seed=0, rows=Y, columns=X):
  return jax.random.normal(jax.random.key(seed), (rows, columns, M))


@pytest.mark.parametrize("size", SIZES)
def test_what_is_equal_everywhere_stays(size):
  x = jnp.broadcast_to(grid()[:1, :1], (Y, X, M))
  np.testing.assert_allclose(
    resample_grid(x, size),
    np.broadcast_to(x[:1, :1], (*size, M)),
    atol=1e-6,
  )


def test_its_own_size_changes_nothing():
  np.testing.assert_array_equal(resample_grid(grid(), (Y, X)), grid())
  half = grid().astype(jnp.bfloat16)
  assert resample_grid(half, (3, 3)).dtype == jnp.bfloat16


def test_a_slope_stays_one_away_from_the_edges():
  ramp = jnp.broadcast_to(jnp.arange(9.0)[:, None, None], (9, X, 1))
  got = np.asarray(resample_grid(ramp, (27, X)))[:, 0, 0]
  at = (np.arange(27) + 0.5) / 3 - 0.5
  inside = (at >= 1) & (at <= 7)
  # Of cubic kernels only the one of -1/2 has slopes exactly: this is near.
  np.testing.assert_allclose(got[inside], at[inside], atol=0.06)
  np.testing.assert_allclose(got, 8 - got[::-1], atol=1e-5)


def test_sizes_that_are_none():
  with pytest.raises(ValueError, match=r"least 1, got \[5, 7\] to \[0, 3\]"):
    resample_grid(grid(), (0, 3))


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_it_is_that_of_pytorch(size):
  torch = pytest.importorskip("torch")
  x = np.asarray(grid())
  theirs = torch.nn.functional.interpolate(
    torch.tensor(x.transpose(2, 0, 1)[None]), size=size, mode="bicubic"
  )
  expected = theirs.numpy()[0].transpose(1, 2, 0)
  np.testing.assert_allclose(resample_grid(grid(), size), expected, atol=2e-6)
