"""What reviewers broke once: each a test by the name of the attack."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax import cache, masks, normalizers, positions, score_mods
from attnjax.models import sample
from attnjax.nn.norm import LayerNorm
from attnjax.ops import scoring

T, S, H, D = 5, 7, 2, 3


@pytest.fixture
def qkv(key):
  q, k, v = (jax.random.normal(k, (S, H, D)) for k in jax.random.split(key, 3))
  return q[:T], k, v


@pytest.mark.usefixtures("as_a_user")
def test_ids_of_64_bits_do_not_wrap_into_another_document(qkv):
  wide = np.array([0, 2**32, 0, 0, 0, 0, 0])
  with pytest.raises(ValueError, match="must fit 32 bits, got 4294967296"):
    masks.segments(wide)
  with pytest.raises(ValueError, match="query_segment_ids must fit 32 bits"):
    attnjax.attend(*qkv, query_segment_ids=wide[:T], key_segment_ids=wide)
  with pytest.raises(ValueError, match="prefix: length must fit 32 bits"):
    masks.prefix(2**32)


def test_a_window_so_wide_that_positions_overflow_is_refused():
  with pytest.raises(ValueError, match=r"<= 2\*\*30, got 2147483647"):
    masks.sliding_window(0, 2**31 - 1)


def log_distance(logit, b, h, q, k):
  return logit + jnp.log((q - k + 1).astype(logit.dtype))


def test_a_score_mod_undefined_where_hidden_has_finite_gradients(qkv):
  q, k, v = qkv

  def f(q, k):
    return attnjax.attend(
      q,
      k,
      v,
      mask=masks.causal(),
      score_mod=score_mods.from_fn(log_distance),
    ).sum()

  for g in jax.grad(f, argnums=(0, 1))(q, k):
    assert jnp.isfinite(g).all()
    assert (g != 0).any()


def test_nan_is_not_a_row_that_sees_nothing(qkv):
  q, k, v = qkv
  _, aux = attnjax.attend(q, k.at[0].set(jnp.nan), v, aux=("logsumexp",))
  assert jnp.isnan(aux.logsumexp).all()


def test_max_logit_of_a_row_that_a_bias_hides_has_no_gradient(qkv):
  _, k, v = qkv
  bias = jnp.full((T, S), -jnp.inf)

  def f(q):
    _, aux = attnjax.attend(q, k, v, bias=bias, aux=("max_logit",))
    return aux.max_logit.sum()

  assert (jax.grad(f)(qkv[0]) == 0).all()


def test_arrays_of_numpy_captured_by_a_function_work_under_jit(qkv):
  table = np.tri(S, dtype=bool)
  rule = masks.from_fn(lambda b, h, q, k, t: t[q, k], table)
  shift = score_mods.from_fn(
    lambda s, b, h, q, k, t: s + t[q, k], np.ones((S, S), np.float32)
  )
  f = lambda q: attnjax.attend(q, *qkv[1:], mask=rule, score_mod=shift)
  plain = attnjax.attend(*qkv, mask=masks.causal())
  np.testing.assert_allclose(jax.jit(f)(qkv[0]), plain, atol=1e-6)


@pytest.mark.usefixtures("as_a_user")
def test_a_bias_of_booleans_is_a_mask(qkv):
  with pytest.raises(ValueError, match="bias must be floating point, got bool"):
    attnjax.attend(*qkv, bias=jnp.ones((T, S), bool))


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("mask", [masks.causal, "causal", [[True]]])
def test_what_is_no_mask_is_told_so(qkv, mask):
  with pytest.raises(ValueError, match="mask must be a Mask or a boolean arr"):
    attnjax.attend(*qkv, mask=mask)


def test_known_lengths_inside_a_trace():
  state = cache.init((3,), capacity=9, heads=1, width=1)
  lengths, beyond = jnp.array([2, 0, 1]), jnp.array([3, 0, 1])
  new = jnp.ones((3, 2, 1, 1))
  traced = jax.jit(lambda x: cache.append(state, x, x, lengths=lengths))(new)
  assert traced.length.tolist() == [2, 0, 1]
  with pytest.raises(ValueError, match="within 0 and the 2 tokens"):
    jax.jit(lambda x: cache.append(state, x, x, lengths=beyond))(new)


def test_lengths_beyond_what_came_poison_their_rows():
  state = cache.init((3,), capacity=9, heads=1, width=1)
  new = jnp.ones((3, 2, 1, 1))
  append = jax.jit(lambda n: cache.append(state, new, new, lengths=n))
  state = append(jnp.array([2, 5, -1]))
  out = attnjax.attend(new, state.key, state.value, mask=state.filled)
  assert jnp.isnan(out[1:]).all()
  assert jnp.isfinite(out[0]).all()


def test_rotary_is_float64_for_float64():
  with jax.enable_x64(True):
    x = jnp.ones((1, 1, 4), jnp.float64)
    got = positions.rotary(x, jnp.array([5003]))[0, 0]
    angle = 5003 * 10_000.0 ** -np.array([0.0, 0.5])
  expected = np.r_[np.cos(angle) - np.sin(angle), np.sin(angle) + np.cos(angle)]
  np.testing.assert_allclose(got, expected, atol=1e-12)


def test_layer_norm_of_a_large_mean(key):
  x = 3000 + jax.random.normal(key, (64,))
  y = LayerNorm(64, rngs=nnx.Rngs(0))(x)
  z = np.asarray(x, np.float64)
  np.testing.assert_allclose(y, (z - z.mean()) / z.std(), atol=2e-3)


@pytest.mark.usefixtures("as_a_user")
def test_float_token_ids_are_refused():
  with pytest.raises(ValueError, match="looked up by integers, got float32"):
    positions.learned(jnp.eye(2), jnp.array([1.0]))


def test_logits_that_are_no_numbers_draw_no_token(key):
  logits = jnp.array([[0.0, 1.0], [jnp.nan, 1.0]])
  assert sample(logits, key, temperature=0.0).tolist() == [1, -1]


def test_an_equal_new_mask_does_not_compile_again(qkv):
  @jax.jit
  @chex.assert_max_traces(n=1)
  def f(q, mask):
    return attnjax.attend(q, *qkv[1:], mask=mask, scoring=scoring.dot())

  for n in (2, 3):
    f(qkv[0], masks.causal() & masks.prefix(n) & masks.sliding_window(4))


def test_top_k_of_more_keys_than_there_are_is_softmax_in_its_memory(qkv):
  most = normalizers.top_k(10**9)
  for implementation in (attnjax.Blockwise(3, 2), "reference"):
    got = attnjax.attend(*qkv, normalizer=most, implementation=implementation)
    np.testing.assert_allclose(got, attnjax.attend(*qkv), atol=1e-6)
