"""Dropout by counting: the same weights are kept whatever computes them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32

from attnjax.ops.attention.dropout import kept, threefry, words
from attnjax.ops.grid import Grid

BATCH, HEADS, T, S = (2, 3), 5, 7, 11
RANK = len(BATCH) + 3


@functools.cache
def whole(rate=0.5, seed=0):
  grid = Grid.of(BATCH, HEADS, T, S)
  return np.asarray(kept(words(jax.random.key(seed)), rate, grid))


def part(grid: Grid, axis: int, start, size: int) -> Grid:
  """A range of one axis of a grid."""

  def cut(x):
    if x.shape[axis] == 1:
      return x
    return jax.lax.dynamic_slice_in_dim(x, start, size, axis)

  fields = dataclasses.fields(grid)
  return Grid(**{f.name: cut(getattr(grid, f.name)) for f in fields})


@pytest.mark.parametrize("axis", range(RANK))
@pytest.mark.parametrize(("start", "size"), [(0, 1), (1, 1), (0, 2)])
def test_a_tile_is_the_slice_of_the_whole(axis, start, size):
  @jax.jit
  def run(key):
    return kept(key, 0.5, part(Grid.of(BATCH, HEADS, T, S), axis, start, size))

  got = run(words(jax.random.key(0)))
  expected = whole().take(range(start, start + size), axis)
  np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("block", [1, 2, 4, 7])
def test_a_scan_over_blocks_keeps_the_same(block):
  grid = Grid.of(BATCH, HEADS, T, S)
  key = words(jax.random.key(0))

  def step(start, _):
    return start + 1, kept(key, 0.5, part(grid, -2, start, block))

  length = T - block + 1
  tiles = jax.jit(lambda: jax.lax.scan(step, 0, None, length)[1])()
  for start, tile in enumerate(tiles):
    np.testing.assert_array_equal(tile, whole()[..., start : start + block, :])


def test_positions_do_not_matter_and_the_index_does():
  key = words(jax.random.key(0))
  t = jnp.zeros(T, jnp.int32)
  s = jnp.arange(S, dtype=jnp.int32) - 4
  grid = Grid.of(BATCH, HEADS, T, S, t, s)
  np.testing.assert_array_equal(kept(key, 0.5, grid), whole())
  grid = dataclasses.replace(grid, query_index=grid.query_index + 1)
  moved = np.asarray(kept(key, 0.5, grid))
  np.testing.assert_array_equal(moved[..., :-1, :], whole()[..., 1:, :])


def test_is_its_formula():
  key = words(jax.random.key(0))
  for b, h, t, s in ((0, 0, 0, 0), (1, 2, 3, 4), (5, 4, 6, 10), (2, 1, 4, 3)):
    at = [jnp.uint32(x) for x in (b, h, t, s)]
    inner = threefry((key[0], key[1]), tuple(at[:2]))
    word = int(threefry(inner, tuple(at[2:]))[0])
    for rate in (word / 2**32, min(word + 1, 2**32 - 1) / 2**32):
      keep = whole(rate).reshape(6, HEADS, T, S)[b, h, t, s]
      assert keep == (word >= round(rate * 2**32))


def test_batch_axes_count_row_major():
  grid = Grid.of((6,), HEADS, T, S)
  flat = kept(words(jax.random.key(0)), 0.5, grid)
  np.testing.assert_array_equal(flat, whole().reshape(6, HEADS, T, S))


@pytest.mark.parametrize("rate", [1e-3, 0.1, 0.5, 0.9])
def test_the_rate_is_kept_within_five_sigma(rate):
  grid = Grid.of((3,), 5, 173, 211)
  seen = np.asarray(kept(words(jax.random.key(3)), rate, grid))
  assert abs(seen.mean() - (1 - rate)) < _five_sigma(rate, seen.size)
  for axes in ((1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2)):
    shares = seen.mean(axes)
    sigmas = _five_sigma(rate, seen.size // shares.size)
    # The tails of a share of few rare events are longer than the normal's.
    assert np.all(abs(shares - (1 - rate)) < 1.5 * sigmas), axes


def _five_sigma(rate, count):
  return 5 * (rate * (1 - rate) / count) ** 0.5


@pytest.mark.parametrize("axis", range(4))
def test_neighbours_on_each_axis_are_independent(axis):
  grid = Grid.of((7,), 5, 61, 67)
  seen = np.asarray(kept(words(jax.random.key(5)), 0.5, grid))
  x, y = seen.take(range(1, 5), axis), seen.take(range(4), axis)
  agree = (x == y).mean()
  assert abs(agree - 0.5) < _five_sigma(0.5, x.size)


def test_no_two_rows_are_equal():
  grid = Grid.of((3,), 5, 64, 64)
  seen = np.asarray(kept(words(jax.random.key(0)), 0.5, grid))
  assert len(np.unique(seen.reshape(-1, 64), axis=0)) == 3 * 5 * 64
  columns = np.swapaxes(seen, -1, -2).reshape(-1, 64)
  assert len(np.unique(columns, axis=0)) == 3 * 5 * 64
  # (b, h) and (h, b), (t, s) and (s, t) are different places.
  assert (seen[1, 2] != seen[2, 1]).any()
  assert (seen[0, 0] != seen[0, 0].T).any()


def test_keys_differ_and_the_same_key_is_the_same():
  np.testing.assert_array_equal(whole(seed=0), whole(seed=0))
  agree = (whole(seed=0) == whole(seed=1)).mean()
  assert abs(agree - 0.5) < _five_sigma(0.5, whole().size)


def test_more_rate_keeps_a_subset():
  assert not (whole(0.7) & ~whole(0.2)).any()


def test_rate_0_keeps_all_and_almost_1_almost_none():
  assert whole(0.0).all()
  assert not whole(1 - 1e-12).any()


def test_under_jit_and_vmap():
  grid = Grid.of(BATCH, HEADS, T, S)
  keys = jax.random.split(jax.random.key(0), 3)

  def masks(key):
    return kept(words(key), 0.5, grid)

  got = jax.jit(jax.vmap(masks))(keys)
  for key, row in zip(keys, got, strict=True):
    np.testing.assert_array_equal(row, masks(key))


def test_inside_the_gradient_of_a_scan():
  grid = Grid.of((), 1, 4, S)
  key = words(jax.random.key(2))

  def total(x):
    def step(carry, start):
      keep = kept(key, 0.5, part(grid, -2, start, 1))
      return carry + jnp.sum(jnp.where(keep, x, 0)), None

    starts = jnp.arange(4, dtype=jnp.int32)
    return jax.lax.scan(jax.checkpoint(step), 0.0, starts)[0]

  slope = jax.grad(total)(jnp.ones((1, 1, S)))[0, 0]
  expected = np.asarray(kept(key, 0.5, grid))[0].sum(0)
  np.testing.assert_array_equal(slope, expected.astype(np.float32))


def test_20_rounds_are_the_words_of_jax():
  key = jnp.array([17, 2**32 - 5], jnp.uint32)
  count = jax.random.bits(jax.random.key(1), (2, 101), jnp.uint32)
  expected = threefry_2x32(key, count.ravel()).reshape(2, 101)
  got = threefry((key[0], key[1]), (count[0], count[1]), rounds=20)
  np.testing.assert_array_equal(jnp.stack(got), expected)


def test_13_rounds_are_the_words_of_the_authors():
  # Of the known answers that come with their code, "threefry2x32 13".
  one = jnp.uint32(2**32 - 1)
  zero = jnp.uint32(0)
  assert _hex(threefry((zero, zero), (zero, zero))) == "9d1c5ec6 8bd50731"
  assert _hex(threefry((one, one), (one, one))) == "fd36d048 2d17272c"


def _hex(words):
  return " ".join(f"{int(x):08x}" for x in words)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_words_of_any_typed_key(impl):
  x, y = (words(jax.random.key(seed, impl=impl)) for seed in (0, 1))
  assert x.shape == (2,)
  assert x.dtype == jnp.uint32
  assert (x != y).any()


def test_words_of_a_raw_key_are_those_of_the_typed():
  x, y = words(jax.random.PRNGKey(3)), words(jax.random.key(3))
  np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
  "make",
  [
    lambda: 0,
    lambda: None,
    lambda: jnp.zeros(2),
    lambda: jnp.zeros(3, jnp.uint32),
    lambda: jax.random.split(jax.random.key(0)),
    lambda: jax.random.split(jax.random.PRNGKey(0)),
  ],
)
@pytest.mark.usefixtures("as_a_user")
def test_what_is_not_one_key_is_refused(make):
  with pytest.raises(ValueError, match="dropout_key must be one JAX key"):
    words(make())


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_outside_is_refused(rate):
  with pytest.raises(ValueError, match=r"dropout_rate must be in \[0, 1\)"):
    whole(rate)
