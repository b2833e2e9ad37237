"""T5's relative bias against its published code, and its gradients."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import attnjax
from attnjax import masks, normalizers, score_mods

N, H, T, S = 8, 3, 5, 7


def _published(relative, bidirectional, buckets, farthest):
  """Buckets as in the code of T5, `_relative_position_bucket`, in numpy."""
  ret = np.zeros_like(relative)
  n = -relative
  if bidirectional:
    buckets //= 2
    ret += (n < 0).astype(np.int32) * buckets
    n = np.abs(n)
  else:
    n = np.maximum(n, 0)
  exact = buckets // 2
  large = exact + (
    np.log(np.maximum(n, 1).astype(np.float32) / exact)
    / math.log(farthest / exact)
    * (buckets - exact)
  ).astype(np.int32)
  return ret + np.where(n < exact, n, np.minimum(large, buckets - 1))


def _buckets(relative, bidirectional, buckets, farthest):
  """Ours, read off a table whose entries are their own row."""
  relative = jnp.asarray(relative)
  mod = score_mods.relative_bias(
    jnp.arange(float(buckets))[:, None], bidirectional, farthest
  )
  zero = jnp.zeros_like(relative)
  read = jax.jit(lambda r: mod(jnp.zeros(r.shape), zero, zero, zero, r))
  return np.asarray(read(relative)).astype(int)


def _bias(table, bidirectional=True, farthest=16, lengths=(T, S)):
  """A mod on logits of 0, on a whole grid."""
  t, s = lengths
  mod = score_mods.relative_bias(table, bidirectional, farthest)
  heads = jnp.arange(table.shape[1]).reshape(-1, 1, 1)
  logit = jnp.zeros((table.shape[1], t, s))
  q, k = jnp.arange(t).reshape(1, -1, 1), jnp.arange(s).reshape(1, 1, -1)
  return mod(logit, jnp.zeros_like(q), heads, q, k)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
  ("buckets", "farthest"), [(32, 128), (8, 16), (4, 3), (64, 1000), (10, 21)]
)
def test_buckets_equal_the_published_code(bidirectional, buckets, farthest):
  relative = np.arange(-2 * farthest - 9, 2 * farthest + 10, dtype=np.int32)
  np.testing.assert_array_equal(
    _buckets(relative, bidirectional, buckets, farthest),
    _published(relative, bidirectional, buckets, farthest),
  )


def test_buckets_by_hand():
  # 32 buckets, both ways: 16 a direction, 0..7 exact, then from 8 on every
  # half power of two begins one: 8, 11.3, 16, 22.6, 32, 45.3, 64, 90.5.
  starts = {8: 8, 12: 9, 16: 10, 23: 11, 32: 12, 46: 13, 64: 14, 91: 15}
  for n, bucket in starts.items():
    assert _buckets([-n, -n + 1], True, 32, 128).tolist() == [
      bucket,
      bucket - 1,
    ]
    assert _buckets([n], True, 32, 128).tolist() == [bucket + 16]
  assert _buckets([0, -1, 1, -127, -128, 2**30], True, 32, 128).tolist() == [
    0, 1, 17, 15, 15, 31
  ]  # fmt: skip


def test_one_direction_takes_all_later_keys_as_near():
  got = _buckets([3, 1, 0, -1, -3, -4, -8, -999], False, 8, 16)
  assert got.tolist() == [0, 0, 0, 1, 3, 4, 6, 7]


def test_a_bound_that_is_a_whole_number_is_exact():
  # 3^5 of 3^8 on the way from 1 to 3^8: a logarithm in float32 may miss it.
  powers = 3 ** np.arange(9)
  buckets = _buckets(-powers, True, 4, 3**8)
  assert buckets.tolist() == [1] * 9
  # Eight logarithmic buckets from 8 to 8 · 3^8: each begins at 8 · 3^j.
  starts = 8 * 3 ** np.arange(8)
  assert _buckets(-starts, True, 32, 8 * 3**8).tolist() == list(range(8, 16))
  assert _buckets(1 - starts, True, 32, 8 * 3**8).tolist() == list(range(7, 15))


def test_each_head_has_its_column(key):
  table = jax.random.normal(key, (N, H))
  bias = np.asarray(_bias(table))
  for h, t, s in np.ndindex(H, T, S):
    bucket = _published(np.array([s - t]), True, N, 16)[0]
    assert bias[h, t, s] == table[bucket, h]


@pytest.mark.parametrize("bidirectional", [True, False])
def test_gradients_reach_the_table(key, bidirectional):
  with jax.enable_x64(True):
    table = jnp.asarray(np.random.default_rng(0).normal(size=(N, H)))

    @jax.jit
    def f(table):
      return jnp.sin(_bias(jnp.asarray(table), bidirectional))

    check_grads(f, (table,), order=2, atol=1e-6, rtol=1e-6)


def test_the_gradient_counts_the_uses_of_a_bucket():
  table = jnp.zeros((N, H))
  weight = jnp.arange(1.0, H + 1).reshape(H, 1, 1)
  grad = jax.grad(lambda x: (weight * _bias(x, lengths=(40, 41))).sum())(table)
  relative = np.arange(41) - np.arange(40)[:, None]
  uses = np.bincount(_published(relative, True, N, 16).ravel(), minlength=N)
  np.testing.assert_array_equal(grad, uses[:, None] * np.arange(1.0, H + 1))


def test_bits_of_the_gradient_do_not_change(key):
  f = jax.jit(jax.grad(lambda x: jnp.sin(_bias(x, lengths=(40, 41))).sum()))
  table = jax.random.normal(key, (N, H))
  np.testing.assert_array_equal(f(table), f(table))


def test_a_table_maps_over_any_axis(key):
  tables = jax.random.normal(key, (N, 2, H))
  mapped = jax.vmap(_bias, in_axes=1)(tables)
  grads = jax.vmap(jax.grad(lambda x: jnp.sin(_bias(x)).sum()), 1, 1)(tables)
  for i in range(2):
    np.testing.assert_array_equal(mapped[i], _bias(tables[:, i]))
    alone = jax.grad(lambda x: jnp.sin(_bias(x)).sum())(tables[:, i])
    np.testing.assert_allclose(grads[:, i], alone, atol=1e-5)


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("implementation", ["reference", None])
def test_attend_takes_it(key, rows, implementation):
  q, k, v = jax.random.normal(key, (3, 2, T, H, 11))
  table = jax.random.normal(key, (N, H))
  shift = jnp.array([[0], [3]]) if rows else jnp.zeros((1, 1), int)
  at = shift + 2 * jnp.arange(T)[None]

  def f(table):
    return attnjax.attend(
      q,
      k,
      v,
      mask=masks.causal(),
      score_mod=score_mods.relative_bias(table, False, 16),
      query_positions=at,
      key_positions=at,
      implementation=implementation,
    )

  def dense(table):
    relative = 2 * (np.arange(T) - np.arange(T)[:, None])
    bias = table[_published(relative, False, N, 16)]
    return attnjax.attend(
      q,
      k,
      v,
      mask=masks.causal(),
      bias=jnp.moveaxis(bias, -1, 0),
      implementation="reference",
    )

  np.testing.assert_allclose(jax.jit(f)(table), dense(table), atol=1e-5)
  square = lambda f: jax.jit(jax.grad(lambda x: (f(x) ** 2).sum()))(table)
  np.testing.assert_allclose(square(f), square(dense), atol=1e-4)


def test_the_table_is_cast_to_the_dtype_of_the_logits():
  mod = score_mods.relative_bias(jnp.ones((N, H), jnp.bfloat16))
  place = jnp.zeros((1,), int)
  assert mod(jnp.zeros(1), place, place, place, place).dtype == jnp.float32


def test_composed_it_is_checked_too():
  mod = score_mods.compose(
    score_mods.softcap(5.0), score_mods.relative_bias(jnp.ones((N, 2)))
  )
  words = r"table has shape \[8, 2\], expected one row a bucket .* \[buckets, 3"
  with pytest.raises(ValueError, match=words):
    mod.validate((), H)
  x = jnp.ones((T, H, 11))
  with pytest.raises(ValueError, match=words):
    attnjax.attend(x, x, x, score_mod=mod)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
  ("buckets", "bidirectional", "farthest", "words"),
  [
    (7, True, 16, "an even number of rows, at least 4, with bidirectional=Tr"),
    (2, True, 16, "at least 4"),
    (1, False, 16, "at least 2, with bidirectional=False, got 1"),
    (32, True, 8, "max_distance must be a Python int > 8, .* got 8"),
    (32, False, 16, "max_distance must be a Python int > 16"),
    (32, True, 20.5, "must be a Python int"),
  ],
)
def test_buckets_that_do_not_divide(buckets, bidirectional, farthest, words):
  with pytest.raises(ValueError, match=words):
    score_mods.relative_bias(jnp.ones((buckets, H)), bidirectional, farthest)


@pytest.mark.usefixtures("as_a_user")
def test_a_table_of_another_rank():
  with pytest.raises(ValueError, match=r"table has shape \[8\]"):
    score_mods.relative_bias(jnp.ones(N)).validate((), H)


@pytest.mark.parametrize("options", [{}, {"aux": ("weights",)}, "top_k"])
def test_a_mod_of_positions_alone_is_the_same_everywhere(options):
  far = lambda s, b, h, q, k: -0.5 * jnp.abs(q - k).astype(jnp.float32)
  whole = lambda s, b, h, q, k: far(s, b, h, q, k) + 0 * s
  if options == "top_k":
    options = {"normalizer": normalizers.top_k(2)}
  x = jnp.asarray(np.random.default_rng(0).normal(size=(T, H, 4)), jnp.float32)
  found, expected = (
    attnjax.attend(x, x, x, score_mod=score_mods.from_fn(mod), **options)
    for mod in (far, whole)
  )
  chex.assert_trees_all_close(found, expected, rtol=1e-6)


def test_what_is_no_logit_is_refused():
  x = jnp.ones((T, H, 4))
  for mod, words in (
    (
      lambda s, b, h, q, k: q >= k,
      "logits, which are floating, got b",
    ),
    (lambda s, b, h, q, k: jnp.zeros(3), r"broadcast to .* got \(3,\)"),
  ):
    with pytest.raises(ValueError, match=words):
      attnjax.attend(x, x, x, score_mod=score_mods.from_fn(mod))


ENDS = np.array([-(2**31), 5 - 2**31, -1, 0, 3, 2**31 - 2, 2**31 - 1], np.int32)


def _apart():
  """Relative positions k - q of the ends of int32, in 64 bits."""
  return ENDS.astype(np.int64)[None] - ENDS.astype(np.int64)[:, None]


@pytest.mark.parametrize("move", [np.asarray, jnp.asarray])
def test_alibi_is_exact_at_both_ends_of_int32(move):
  q, k = move(ENDS)[:, None], move(ENDS)[None]
  mod = score_mods.alibi(jnp.array([0.5], jnp.float32))
  bias = mod(jnp.zeros(_apart().shape), 0, jnp.int32(0), q, k)
  np.testing.assert_array_equal(
    bias, (-0.5 * np.abs(_apart())).astype(np.float32)
  )


@pytest.mark.parametrize("bidirectional", [True, False])
def test_relative_bias_is_exact_at_both_ends_of_int32(bidirectional):
  mod = score_mods.relative_bias(jnp.arange(8.0)[:, None], bidirectional, 16)
  q, k = jnp.asarray(ENDS)[:, None], jnp.asarray(ENDS)[None]
  zero = jnp.zeros(_apart().shape, int)
  np.testing.assert_array_equal(
    mod(jnp.zeros(zero.shape), 0, zero, q, k),
    _published(np.clip(_apart(), -999, 999), bidirectional, 8, 16),
  )


@pytest.mark.parametrize("name", ["alibi", "relative_bias"])
@pytest.mark.parametrize("implementation", ["reference", "blockwise"])
def test_a_pad_at_the_end_of_int32_is_far_from_a_query(name, implementation):
  """A wrapped distance would be negative, and the pad the nearest key."""
  mod = {
    "alibi": score_mods.alibi(jnp.array([1.0])),
    "relative_bias": score_mods.relative_bias(
      jnp.zeros((8, 1)).at[7].set(-1e4), max_distance=9
    ),
  }[name]
  x, value = jnp.zeros((2, 1, 4)), jnp.eye(2)[:, None]
  out = attnjax.attend(
    x,
    x,
    value,
    score_mod=mod,
    query_positions=jnp.array([-1, -2]),
    key_positions=jnp.array([-1, 2**31 - 1]),
    implementation=implementation,
  )
  assert (out[:, 0, 1] == 0).all()
