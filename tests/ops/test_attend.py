"""The reference implementation against the float64 oracle, and its laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import attnjax
from attnjax import masks, score_mods, scoring
from attnjax.testing import oracle

B, T, S, H, K, D, E = 2, 5, 7, 6, 3, 11, 13


@pytest.fixture
def qkv(key):
  shapes = ((B, T, H, D), (B, S, K, D), (B, S, K, E))
  keys = jax.random.split(key, 3)
  return [jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]


def _tolerance(dtype, terms):
  # Rounding of a sum of `terms` products, twice over (logits, then values).
  return 4 * float(jnp.finfo(dtype).eps) * terms


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("rule", ["none", "causal", "window", "batch"])
def test_equals_the_oracle(qkv, key, dtype, rule):
  mask = {
    "none": None,
    "causal": masks.causal(),
    "window": masks.sliding_window(1, 2) | masks.dilated(3),
    "batch": masks.lengths(jnp.array([5, 3]), jnp.array([4, 7])),
  }[rule]
  q, k, v = (x.astype(dtype) for x in qkv)
  bias = jax.random.normal(key, (B, H, T, S))
  seen = None if mask is None else mask.dense(T, S, batch=(B,), heads=H)
  out, aux = attnjax.attend(
    q, k, v, mask=mask, bias=bias, aux=("logsumexp", "weights")
  )
  expected = oracle.attention(q, k, v, visible=seen, bias=bias)
  # Sums are float32 whatever the inputs; only the output is rounded to theirs.
  exact = _tolerance(jnp.float32, D + S)
  rounded = exact + float(jnp.finfo(dtype).eps) * np.abs(expected[0]).max()
  assert out.dtype == dtype
  np.testing.assert_allclose(
    np.asarray(out, np.float64), expected[0], atol=rounded
  )
  np.testing.assert_allclose(aux.logsumexp, expected[1], atol=exact)
  np.testing.assert_allclose(aux.weights, expected[2], atol=exact)
  assert aux.logsumexp.dtype == jnp.float32


def test_float64_is_float64_throughout(qkv):
  with jax.enable_x64(True):
    q, k, v = (jnp.asarray(np.asarray(x), jnp.float64) for x in qkv)
    out, aux = attnjax.attend(q, k, v, aux=("logsumexp",))
    expected = oracle.attention(q, k, v)
  assert out.dtype == aux.logsumexp.dtype == np.float64
  np.testing.assert_allclose(out, expected[0], atol=1e-14)
  np.testing.assert_allclose(aux.logsumexp, expected[1], atol=1e-14)


def test_unscaled_equals_scaled_with_larger_queries(qkv):
  q, k, v = qkv
  a = attnjax.attend(q, k, v, scoring=scoring.dot())
  b = attnjax.attend(q * D**0.5, k, v)
  np.testing.assert_allclose(a, b, atol=1e-5)


def test_equals_jax_nn(qkv):
  q, k, v = qkv[0], qkv[1], qkv[1]
  ours = attnjax.attend(q, k, v)
  theirs = jax.nn.dot_product_attention(q, k, v)
  np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_output_is_an_average_of_values(qkv):
  q, k, v = qkv
  out = attnjax.attend(q, k, v)
  group = jnp.repeat(v, H // K, axis=2)
  assert (out <= group.max(1, keepdims=True) + 1e-6).all()
  assert (out >= group.min(1, keepdims=True) - 1e-6).all()


def test_keys_may_be_permuted_and_queries_carry_theirs(qkv):
  q, k, v = qkv
  order = jnp.array([3, 0, 6, 1, 5, 2, 4])
  out = attnjax.attend(q, k, v)
  np.testing.assert_allclose(
    attnjax.attend(q, k[:, order], v[:, order]), out, atol=1e-6
  )
  np.testing.assert_array_equal(attnjax.attend(q[:, ::-1], k, v), out[:, ::-1])


def test_a_permuted_array_with_its_positions_is_the_same_attention(qkv):
  q, k, v = qkv[0], qkv[1][:, :T], qkv[2][:, :T]
  order = jnp.array([3, 0, 1, 4, 2])
  plain = attnjax.attend(q, k, v, mask=masks.causal())
  moved = attnjax.attend(
    q[:, order],
    k[:, order],
    v[:, order],
    mask=masks.causal(),
    query_positions=order,
    key_positions=order,
  )
  np.testing.assert_allclose(moved, plain[:, order], atol=1e-6)


def test_positions_may_be_negative_and_per_row(qkv):
  q, k, v = qkv[0], qkv[1][:, :T], qkv[2][:, :T]
  position = jnp.arange(T)[None] + jnp.array([[-9], [1000]])
  out = attnjax.attend(
    q,
    k,
    v,
    mask=masks.causal(),
    query_positions=position,
    key_positions=position,
  )
  np.testing.assert_array_equal(
    out, attnjax.attend(q, k, v, mask=masks.causal())
  )


def test_causality_by_gradient(qkv):
  q, k, v = qkv[0], qkv[1][:, :T], qkv[2][:, :T]

  def at(t, k, v):
    return attnjax.attend(q, k, v, mask=masks.causal())[:, t].sum()

  derive = jax.jit(jax.grad(at, argnums=(1, 2)), static_argnums=0)
  for t in range(T):
    to_key, to_value = derive(t, k, v)
    for g in (to_key, to_value):
      assert (g[:, t + 1 :] == 0).all()
    assert (to_value[:, t] != 0).all()
    # The first query has one key: its weight is 1, whatever the key is.
    assert bool((abs(to_key[:, t]) > 1e-5).any()) == (t > 0)


def test_segments_are_separate_by_gradient(qkv):
  q, k, v = qkv[0], qkv[1][:, :T], qkv[2][:, :T]
  ids = jnp.array([0, 0, 1, 1, 1])

  def first(k, v):
    out = attnjax.attend(q, k, v, query_segment_ids=ids, key_segment_ids=ids)
    return out[:, :2].sum()

  for g in jax.jit(jax.grad(first, argnums=(0, 1)))(k, v):
    assert (g[:, 2:] == 0).all()
    assert (g[:, :2] != 0).any()


def test_segment_ids_equal_the_mask_of_segments(qkv):
  q, k, v = qkv[0], qkv[1][:, :T], qkv[2][:, :T]
  ids = jnp.array([[0, 0, 1, 1, 2], [4, 5, 5, 5, 5]])
  by_index = attnjax.attend(q, k, v, query_segment_ids=ids, key_segment_ids=ids)
  by_position = attnjax.attend(q, k, v, mask=masks.segments(ids))
  np.testing.assert_array_equal(by_index, by_position)


@pytest.mark.parametrize("how", ["mask", "bias", "array", "no keys"])
def test_a_query_that_sees_nothing(qkv, how):
  q, k, v = qkv
  hidden = jnp.arange(T)[:, None] == jnp.full((1, S), 2)
  kw = {
    "mask": {"mask": ~masks.from_fn(_row_two)},
    "bias": {"bias": jnp.where(hidden, -jnp.inf, 0.0)},
    "array": {"mask": ~hidden},
    "no keys": {},
  }[how]
  rows = [2]
  if how == "no keys":
    k, v, rows = k[:, :0], v[:, :0], list(range(T))

  def f(q, k, v):
    out, aux = attnjax.attend(
      q, k, v, **kw, aux=("logsumexp", "weights", "entropy", "max_logit")
    )
    return out, aux

  out, aux = jax.tree.map(np.asarray, jax.jit(f)(q, k, v))
  for row in rows:
    assert (out[:, row] == 0).all()
    assert (aux.weights[:, :, row] == 0).all()
    assert (aux.entropy[:, :, row] == 0).all()
    assert np.isneginf(aux.logsumexp[:, :, row]).all()
    assert np.isneginf(aux.max_logit[:, :, row]).all()

  def loss(q, k, v):
    out, aux = f(q, k, v)
    lse = jnp.where(jnp.isneginf(aux.logsumexp), 0, aux.logsumexp)
    return (out**2).sum() + lse.sum() + aux.entropy.sum()

  @jax.jit
  def derivatives(*x):
    curvature = jax.grad(lambda q: jax.grad(loss)(q, *x[1:]).sum())(x[0])
    _, tangent = jax.jvp(loss, x, x)
    return jax.grad(loss, argnums=(0, 1, 2))(*x), tangent, curvature

  grads, tangent, curvature = map(jax.device_get, derivatives(q, k, v))
  for g in (*grads, tangent, curvature):
    assert np.isfinite(g).all()
  for row in rows:
    assert (grads[0][:, row] == 0).all()


def _row_two(b, h, q, k):
  return q == jnp.full_like(k, 2)


def test_gradients_to_every_order(qkv):
  q, k, v = (x[:1, :3, :, :2] for x in qkv)

  def f(q, k, v, bias, slopes):
    q, k, v, bias = map(jnp.asarray, (q, k, v, bias))
    return attnjax.attend(
      q,
      k,
      v,
      mask=masks.causal(),
      bias=bias,
      score_mod=score_mods.compose(
        score_mods.softcap(5.0), score_mods.alibi(jnp.asarray(slopes))
      ),
      aux=("logsumexp", "entropy"),
    )

  bias = jnp.linspace(-1, 1, 9).reshape(3, 3)
  slopes = jnp.linspace(0.1, 1, H)

  @jax.jit
  def smooth(*args):
    out, aux = f(*args)
    return out, aux.logsumexp, aux.entropy

  check_grads(smooth, (q, k, v, bias, slopes), order=2, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(
  ("t", "s", "batch"), [(1, 1, (2,)), (0, 3, ()), (3, 0, (0, 2)), (4, 1, ())]
)
def test_every_length_works(t, s, batch):
  q = jnp.ones((*batch, t, 2, 3))
  k, v = jnp.ones((*batch, s, 1, 3)), jnp.ones((*batch, s, 1, 5))
  out = attnjax.attend(q, k, v, mask=masks.causal())
  assert out.shape == (*batch, t, 2, 5)
  expected = jnp.full_like(out, 1.0 if s else 0.0)
  np.testing.assert_allclose(out, expected)


def test_huge_logits_are_finite(qkv):
  q, k, v = qkv
  out, aux = attnjax.attend(1e4 * q, 1e4 * k, v, aux=("logsumexp", "weights"))
  assert jnp.isfinite(out).all()
  np.testing.assert_allclose(aux.weights.sum(-1), 1, atol=1e-6)


def test_any_number_of_batch_axes(qkv):
  q, k, v = qkv
  lift = lambda x: jnp.stack([x, x * 0.5])
  mask = masks.lengths(key=jnp.array([[3, 5], [7, 1]]))
  both = attnjax.attend(lift(q), lift(k), lift(v), mask=mask)
  for i in range(2):
    for b in range(B):
      alone = attnjax.attend(
        lift(q)[i, b],
        lift(k)[i, b],
        lift(v)[i, b],
        mask=masks.lengths(key=mask.key[i, b]),
      )
      np.testing.assert_allclose(both[i, b], alone, atol=1e-6)


def test_vmap_over_a_mask_equals_a_batch(qkv):
  q, k, v = qkv
  n = jnp.array([2, 6])
  mapped = jax.vmap(
    lambda q, k, v, n: attnjax.attend(q, k, v, mask=masks.lengths(key=n))
  )(q, k, v, n)
  batched = attnjax.attend(q, k, v, mask=masks.lengths(key=n))
  np.testing.assert_allclose(mapped, batched, atol=1e-6)


def test_entropy_of_weights_that_nearly_vanish_has_second_derivatives(qkv):
  """Of weights of 1e-38 the inverse square is beyond float32."""
  q, k, v = (x[:1, :, :1] for x in qkv)

  def slope(implementation):
    def entropies(q):
      _, aux = attnjax.attend(
        20 * q, k, v, aux=("entropy",), implementation=implementation
      )
      return (aux.entropy**2).sum()

    return jax.jit(lambda q: jax.jvp(jax.grad(entropies), (q,), (q,))[1])(q)

  found, expected = slope("reference"), slope(attnjax.Blockwise(4, 4))
  assert np.isfinite(found).all()
  size = float(abs(expected).max())
  np.testing.assert_allclose(found, expected, atol=1e-3 * size)


def test_aux_entropy_and_max_logit(qkv):
  q, k, v = qkv
  _, aux = attnjax.attend(
    q, k, v, aux=("weights", "entropy", "max_logit", "logsumexp")
  )
  w = np.asarray(aux.weights, np.float64)
  np.testing.assert_allclose(aux.entropy, -(w * np.log(w)).sum(-1), atol=1e-5)
  # The likeliest weight is exp(max_logit - logsumexp).
  np.testing.assert_allclose(
    w.max(-1), np.exp(aux.max_logit - aux.logsumexp), atol=1e-6
  )


def test_same_inputs_same_bits(qkv):
  f = jax.jit(lambda q, k, v: attnjax.attend(q, k, v, mask=masks.causal()))
  assert (f(*qkv) == f(*qkv)).all()
