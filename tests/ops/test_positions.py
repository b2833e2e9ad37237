"""Position encodings: their formula, and the law each was invented for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import positions
from tests.drawn import arrays

T, H, D, M = 7, 3, 10, 10
WHERE = jnp.array([-11, 0, 1, 5, 13, 101, 997])


def test_sinusoids_follow_their_formula():
  code = positions.sinusoidal(WHERE, M, base=100.0)
  t, i = np.asarray(WHERE, np.float64)[:, None], np.arange(M // 2)
  angle = t / 100.0 ** (2 * i / M)
  np.testing.assert_allclose(code[:, 0::2], np.sin(angle), atol=3e-7)
  np.testing.assert_allclose(code[:, 1::2], np.cos(angle), atol=3e-7)


FAR = np.array(
  [10**6, -(10**6), 10**7, 123_456_789, 2**24 + 1, 2**31 - 1, -(2**31), 3]
)


@pytest.mark.parametrize("base", [100.0, 10_000.0, 500_000.0])
def test_angles_are_exact_however_far_the_position(base):
  angle = FAR[:, None] * base ** (-np.arange(0, 64, 2) / 64)
  sin, cos = np.sin(angle), np.cos(angle)
  where = jnp.asarray(FAR, jnp.int32)
  code = jax.jit(lambda p: positions.sinusoidal(p, 64, base=base))(where)
  code = np.asarray(code, np.float64)
  # A unit in the last place of a number just below 1 is 6e-8.
  np.testing.assert_allclose(code[:, 0::2], sin, atol=3e-7)
  np.testing.assert_allclose(code[:, 1::2], cos, atol=3e-7)
  one = jnp.concatenate([jnp.ones((8, 1, 32)), jnp.zeros((8, 1, 32))], -1)
  turned = positions.rotary(one, where, base=base)[:, 0]
  turned = np.asarray(turned, np.float64)
  np.testing.assert_allclose(turned, np.hstack([cos, sin]), atol=3e-7)


def test_small_angles_keep_their_digits():
  where = jnp.array([1, -2, 5])
  code = np.asarray(positions.sinusoidal(where, 128), np.float64)[:, 0::2]
  angle = np.asarray(where)[:, None] * 10_000.0 ** (-np.arange(0, 128, 2) / 128)
  np.testing.assert_allclose(code, np.sin(angle), rtol=6e-7)


def test_a_rotary_score_far_out_is_the_score_near_by():
  q, k = arrays((1, 1, 64), (1, 1, 64))
  encode = lambda x, p: positions.rotary(x, jnp.array([p]))[0, 0]
  score = lambda shift: encode(q, 41 + shift) @ encode(k, 7 + shift)
  for shift in (10**6, 10**7, 2**31 - 42, -(2**31) + 3):
    np.testing.assert_allclose(score(shift), score(0), atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_of_few_bits_is_rounded_once(dtype, interleaved):
  (x,) = arrays((T, H, D))
  few = x.astype(dtype)
  turn = functools.partial(positions.rotary, interleaved=interleaved)
  got, wide = turn(few, WHERE), turn(few.astype(jnp.float32), WHERE)
  assert got.dtype == dtype
  np.testing.assert_array_equal(got, wide.astype(dtype))


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("x64", [False, True])
def test_positions_are_integers_and_a_base_is_a_number(x64):
  x = np.ones((2, 1, 4), np.float64 if x64 else np.float32)
  with jax.enable_x64(x64):
    for where in (np.array([0.5, 1.0]), jnp.array([0.0, 1.0])):
      with pytest.raises(
        ValueError, match="positions must be integers, got fl"
      ):
        positions.rotary(jnp.asarray(x), where)
    for base in (0.0, -1.0, np.inf, np.nan):
      with pytest.raises(ValueError, match="base must be a finite number > 0"):
        positions.rotary(jnp.asarray(x), np.arange(2), base=base)


@pytest.mark.parametrize("shift", [-5, 1, 17])
def test_a_shift_of_sinusoids_is_one_linear_map(shift):
  step = shift * 10_000.0 ** (-2 * np.arange(M // 2) / M)
  turn = np.zeros((M, M))
  for i, a in enumerate(step):
    block = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    turn[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = block
  code, shifted = (positions.sinusoidal(WHERE + s, M) for s in (0, shift))
  np.testing.assert_allclose(code @ turn, shifted, atol=2e-4)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_turns_complex_numbers(interleaved):
  (x,) = arrays((T, H, D))
  got = np.asarray(
    positions.rotary(x, WHERE, base=50.0, interleaved=interleaved)
  )
  pairs = (lambda x: (x[..., 0::2], x[..., 1::2])) if interleaved else _halves
  first, second = pairs(np.asarray(x, np.float64))
  angle = np.asarray(WHERE)[:, None] / 50.0 ** (2 * np.arange(D // 2) / D)
  turned = (first + 1j * second) * np.exp(1j * angle)[:, None]
  real, imaginary = pairs(got)
  np.testing.assert_allclose(real, turned.real, atol=1e-3)
  np.testing.assert_allclose(imaginary, turned.imag, atol=1e-3)


def _halves(x):
  return np.split(x, 2, axis=-1)


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_rotary_score_depends_on_the_distance_alone(interleaved):
  q, k = arrays((D,), (D,))
  encode = positions.Rotary(base=100.0, interleaved=interleaved)

  def scores(where):
    spread = lambda x: jnp.broadcast_to(x, (T, 1, D))
    rows = (encode(spread(x), where)[:, 0] for x in (q, k))
    return np.einsum("td,sd->ts", *rows)

  near, far = scores(jnp.arange(T)), scores(jnp.arange(T) - 37)
  np.testing.assert_allclose(near, far, atol=1e-4)
  for distance in range(1 - T, T):
    same = np.diagonal(near, distance)
    np.testing.assert_allclose(same, same[0], atol=1e-4)
  assert len(np.unique(near.round(2))) > T  # and it does depend on it


def test_rotary_preserves_norms_and_undoes_itself():
  (x,) = arrays((T, H, D))
  turned = positions.rotary(x, WHERE)
  norm = lambda x: jnp.linalg.norm(x, axis=-1)
  np.testing.assert_allclose(norm(turned), norm(x), rtol=1e-5)
  np.testing.assert_allclose(positions.rotary(turned, -WHERE), x, atol=1e-5)
  np.testing.assert_array_equal(turned[1], x[1])  # position 0


def test_the_two_pairings_are_a_permutation_of_each_other():
  (x,) = arrays((T, H, D))
  order = np.concatenate([np.arange(0, D, 2), np.arange(1, D, 2)])
  np.testing.assert_allclose(
    positions.rotary(x, WHERE, interleaved=True)[..., order],
    positions.rotary(x[..., order], WHERE),
    atol=1e-6,
  )


def test_rotary_of_few_bits_has_angles_of_many():
  (x,) = arrays((1, H, D))
  x, far = x.astype(jnp.bfloat16), jnp.array([4_097])
  got = positions.rotary(x, far)
  exact = positions.rotary(x.astype(jnp.float32), far)
  assert got.dtype == jnp.bfloat16
  # An angle of 4097 in bfloat16 would be off by whole turns.
  np.testing.assert_allclose(got.astype(jnp.float32), exact, atol=0.05)


def test_rows_of_a_batch_have_their_own_positions():
  (x,) = arrays((2, T, H, D))
  rows = jnp.stack([WHERE, WHERE[::-1]])
  both = positions.rotary(x, rows)
  for i in range(2):
    np.testing.assert_allclose(
      both[i], positions.rotary(x[i], rows[i]), atol=1e-6
    )
  np.testing.assert_allclose(
    positions.rotary(x, WHERE)[1], positions.rotary(x[1], WHERE), atol=1e-6
  )


def test_learned_rows_and_nan_where_there_is_none():
  (table,) = arrays((5, 3))
  where = jnp.array([4, 0, 5, -1, 4, 2**31 - 1])
  table, got = map(np.asarray, (table, positions.learned(table, where)))
  np.testing.assert_array_equal(got[[0, 1, 4]], table[[4, 0, 4]])
  assert np.isnan(got[[2, 3, 5]]).all()


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8])
def test_learned_reads_with_narrow_integers(dtype):
  table = jnp.eye(300)
  got = positions.learned(table, jnp.array([3, 127], dtype))
  np.testing.assert_array_equal(got, table[jnp.array([3, 127])])


def test_learned_gradients_reach_the_rows_that_were_read():
  (table,) = arrays((5, 3))
  read = lambda x: positions.learned(x, jnp.array([4, 0, 4])).sum()
  grad = jax.grad(read)(table)
  assert grad[:, 0].tolist() == [1, 0, 0, 0, 2]


@pytest.mark.parametrize(
  ("heads", "exponents"),
  [
    (1, [8]),
    (4, [2, 4, 6, 8]),
    (8, [1, 2, 3, 4, 5, 6, 7, 8]),
    # The slopes of 4 (or 8), then every second one of 8 (or 16).
    (6, [2, 4, 6, 8, 1, 3]),
    (12, [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5]),
  ],
)
def test_alibi_slopes_of_the_paper(heads, exponents):
  expected = [2.0**-x for x in exponents]
  np.testing.assert_allclose(positions.alibi_slopes(heads), expected)


def test_an_odd_width_and_no_head_are_refused():
  with pytest.raises(ValueError, match="width must be even, got 7"):
    positions.sinusoidal(WHERE, 7)
  with pytest.raises(ValueError, match="width must be even, got 3"):
    positions.rotary(jnp.ones((T, H, 3)), WHERE)
  with pytest.raises(ValueError, match="heads must be at least 1, got 0"):
    positions.alibi_slopes(0)
