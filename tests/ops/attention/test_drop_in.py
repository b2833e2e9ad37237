"""`dot_product_attention` in the places of JAX's and of Flax's."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax import Blockwise, dot_product_attention
from tests.few import few

B, T, S, H, K, D = 2, 7, 5, 4, 2, 3


def arrays(seed=0, length=T, keys=S, heads=K):
  rng = np.random.default_rng(seed)
  shapes = ((B, length, H, D), (B, keys, heads, D), (B, keys, heads, D))
  return [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]


TABLE = np.random.default_rng(3).random((B, H, T, S)) < 0.6
TABLE[..., 0] = True  # jax.nn gives the mean of all values to an empty row
OPTIONS = {
  "nothing": {},
  "scale": {"scale": 0.3},
  "bias": {"bias": jnp.asarray(np.random.default_rng(1).random((1, H, T, S)))},
  "mask": {"mask": jnp.asarray(TABLE)},
  "mask of all heads": {"mask": jnp.asarray(TABLE[:, :1])},
  "causal": {"is_causal": True},
  "window": {"local_window_size": (7, 1)},
  "one window": {"local_window_size": 6},
  "lengths of keys": {"key_value_seq_lengths": jnp.array([2, 5])},
  "window and mask": {"local_window_size": 6, "mask": jnp.asarray(TABLE)},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_it_is_that_of_jax(name):
  q, k, v = arrays()
  with jax.numpy_rank_promotion("allow"):
    theirs = jax.nn.dot_product_attention(q, k, v, **OPTIONS[name])
  ours = dot_product_attention(q, k, v, **OPTIONS[name])
  np.testing.assert_allclose(ours, theirs, atol=2e-6)


RULES = {
  "causal": {"is_causal": True},
  "window": {"local_window_size": 6},
  "lengths": {"key_value_seq_lengths": jnp.array([3, 5])},
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
  "shape", [(B, 1, S - 1, S), (B, 1, T, S - 1), (S - 1,)]
)
def test_a_mask_of_another_size_is_refused_beside_a_rule_too(name, shape):
  q, k, v = arrays(length=S)
  q = q if name == "causal" else jnp.concatenate([q, q[:, : T - S]], 1)
  with pytest.raises(ValueError, match="mask must broadcast to"):
    dot_product_attention(q, k, v, mask=jnp.ones(shape, bool), **RULES[name])


@pytest.mark.parametrize("shape", [(S,), (1, S), (B, 1, 1, S), (1, 1, 1, S)])
def test_a_mask_that_broadcasts_serves_beside_a_rule(shape):
  mask = jnp.asarray(np.random.default_rng(4).random(shape) < 0.5)
  q, k, v = arrays(length=S)
  both = dot_product_attention(q, k, v, mask=mask, is_causal=True)
  table = np.broadcast_to(mask, (B, H, S, S)) & np.tri(S, dtype=bool)
  alone = dot_product_attention(q, k, v, mask=jnp.asarray(table))
  np.testing.assert_allclose(both, alone, atol=1e-6)


def test_queries_past_their_length_read_zero():
  q, k, v = arrays()
  out = dot_product_attention(q, k, v, query_seq_lengths=jnp.array([3, 7]))
  assert (out[0, 3:] == 0).all()
  assert (out[1] != 0).all()


def test_the_residual_is_float32_and_differentiable():
  q, k, v = arrays()

  def f(q):
    _, residual = dot_product_attention(
      q.astype(jnp.bfloat16),
      k.astype(jnp.bfloat16),
      v.astype(jnp.bfloat16),
      return_residual=True,
    )
    assert residual.shape == (B, T, H)
    assert residual.dtype == jnp.float32
    return residual.sum()

  assert (abs(jax.grad(f)(q)) > 0).any()


@pytest.mark.parametrize("heads", [1, 2])
def test_it_serves_flax_nnx(heads):
  x = jnp.asarray(np.random.default_rng(2).normal(size=(B, T, 6)), jnp.float32)
  mask = nnx.make_causal_mask(x[..., 0])
  outs = [
    nnx.MultiHeadAttention(heads, 6, decode=False, rngs=nnx.Rngs(0), **kw)(
      x, mask=mask
    )
    for kw in ({}, {"attention_fn": dot_product_attention})
  ]
  np.testing.assert_allclose(*outs, atol=2e-6)


def test_it_serves_flax_linen():
  x = jnp.asarray(np.random.default_rng(2).normal(size=(B, T, 6)), jnp.float32)
  mask = flax.linen.make_causal_mask(x[..., 0])
  outs = []
  for kw in ({}, {"attention_fn": dot_product_attention}):
    layer = flax.linen.MultiHeadDotProductAttention(num_heads=2, **kw)
    outs.append(layer.init_with_output(jax.random.key(0), x, mask=mask)[0])
  np.testing.assert_allclose(*outs, atol=2e-6)


CAUSAL = {
  "float32": flax.linen.make_causal_mask(jnp.ones((B, S))),
  "int32": jnp.tri(S, dtype=jnp.int32),
  "numpy": np.tri(S),
}
ADDED = jnp.where(jnp.tri(S, dtype=bool), 0.0, -1e9)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_jitted_function_may_close_over_a_mask_of_numbers(name):
  q, k, v = arrays(length=S)
  masked = lambda q: dot_product_attention(q, k, v, mask=CAUSAL[name])
  right = dot_product_attention(q, k, v, is_causal=True)
  for call in (masked, jax.jit(masked), jax.checkpoint(masked)):
    np.testing.assert_allclose(call(q), right, atol=1e-6)


def test_logits_to_add_are_no_mask_known_or_traced():
  q, k, v = arrays(length=S)
  call = lambda m: dot_product_attention(q, k, v, mask=m)
  for of in (call, jax.jit(call), lambda m: jax.jit(lambda: call(m))()):
    with pytest.raises(ValueError, match="logits to add are bias="):
      of(ADDED)
  with pytest.raises(ValueError, match="give mask != 0"):
    jax.jit(call)(CAUSAL["float32"])


def test_a_traced_mask_of_flax_is_0_and_1_or_all_is_nan():
  q, k, v = arrays(length=S)
  call = jax.jit(
    lambda m: dot_product_attention(
      q, k, v, mask=m, deterministic=True, return_residual=True
    )
  )
  right = dot_product_attention(q, k, v, is_causal=True, return_residual=True)
  for found, x in zip(call(CAUSAL["float32"]), right, strict=True):
    np.testing.assert_allclose(found, x, atol=1e-6)
  assert all(np.isnan(x).all() for x in call(ADDED))


@pytest.mark.parametrize(
  "implementation", few(["reference", Blockwise(3, 2)], Blockwise(3, 2))
)
def test_broadcast_dropout_is_one_for_all_rows_and_heads(implementation):
  q, k = jnp.zeros((3, 11, 4, 2)), jnp.zeros((3, 13, 2, 2))
  v = jnp.broadcast_to(jnp.eye(13)[None, :, None], (3, 13, 2, 13))
  call = lambda v, **options: dot_product_attention(
    q,
    k,
    v,
    dropout_rng=jax.random.key(1),
    dropout_rate=0.4,
    implementation=implementation,
    **options,
  )
  out = call(v, broadcast_dropout=True)
  assert (out == out[:1, :, :1]).all()
  assert 0.25 < (out == 0).mean() < 0.55
  own = call(v)
  np.testing.assert_array_equal(out[0, :, 0], own[0, :, 0])
  assert (own[1] != own[0]).any()
  # What a weight does not read gets no gradient either.
  read = lambda v: call(v, broadcast_dropout=True)[2, :, 3].sum()
  grad = jax.jit(jax.grad(read))(v)
  kept = (out[2, :, 3] != 0).sum(0)
  np.testing.assert_allclose(grad[2, :, 1, 0], kept / 13 / 0.6, atol=1e-6)


def test_flax_dropout_with_its_defaults_trains_under_jit():
  x = jnp.asarray(np.random.default_rng(2).normal(size=(B, T, 6)), jnp.float32)

  def train(layer):
    @jax.jit
    def loss(params, key):
      mask = flax.linen.make_causal_mask(x[..., 0])
      out = layer.apply(
        params, x, mask=mask, deterministic=False, rngs={"dropout": key}
      )
      return (out**2).mean()

    params = layer.init(jax.random.key(0), x, deterministic=True)
    return jax.value_and_grad(loss)(params, jax.random.key(1))

  layer = flax.linen.MultiHeadDotProductAttention(
    num_heads=2, attention_fn=dot_product_attention, dropout_rate=0.5
  )
  loss, grads = train(layer)
  assert np.isfinite(loss)
  assert loss != train(layer.clone(dropout_rate=0.0))[0]
  assert all((g != 0).any() for g in jax.tree.leaves(grads))


def test_flax_decodes_as_the_whole_under_jit():
  x = jnp.asarray(np.random.default_rng(2).normal(size=(B, T, 6)), jnp.float32)
  layer = nnx.MultiHeadAttention(
    2, 6, attention_fn=dot_product_attention, decode=False, rngs=nnx.Rngs(0)
  )
  whole = layer(x, mask=nnx.make_causal_mask(x[..., 0]))
  layer.init_cache(x.shape)
  step = nnx.jit(lambda layer, token: layer(token, decode=True))
  tokens = [step(layer, x[:, t : t + 1]) for t in range(T)]
  np.testing.assert_allclose(jnp.concatenate(tokens, 1), whole, atol=1e-5)


def test_dropout_that_is_deterministic_drops_nothing():
  q, k, v = arrays()
  options = {"dropout_rng": jax.random.key(0), "dropout_rate": 0.5}
  plain = dot_product_attention(q, k, v)
  dropped = dot_product_attention(q, k, v, **options)
  assert (plain != dropped).any()
  kept = dot_product_attention(q, k, v, deterministic=True, **options)
  np.testing.assert_array_equal(plain, kept)


def test_a_scale_may_be_an_array_and_learned():
  q, k, v = arrays()
  loss = lambda fn, s: (fn(q, k, v, scale=s) ** 2).sum()
  ours, theirs = (
    jax.jit(jax.value_and_grad(lambda s, fn=fn: loss(fn, s)))(jnp.float32(0.3))
    for fn in (dot_product_attention, jax.nn.dot_product_attention)
  )
  np.testing.assert_allclose(ours, theirs, rtol=1e-5)
  half = dot_product_attention(q, k, v, scale=0.5)
  for scale in (np.float32(0.5), jnp.float32(0.5), np.array(0.5)):
    found = dot_product_attention(q, k, v, scale=scale)
    np.testing.assert_allclose(found, half, atol=1e-6)
  with pytest.raises(ValueError, match="scale must be one number, got"):
    dot_product_attention(q, k, v, scale=jnp.ones(H))


def test_a_scale_of_bfloat16_queries_is_not_rounded():
  q, k, v = (x.astype(jnp.bfloat16) for x in arrays())
  found = dot_product_attention(q, k, v, scale=jnp.float32(0.3))
  right = dot_product_attention(q, k, v, scale=0.3)
  assert found.dtype == jnp.bfloat16
  np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize(
  "window", [np.int64(2), np.array(2), (np.int32(2), np.int32(2)), [2, 2]]
)
def test_window_sizes_are_integers_of_any_type(window):
  q, k, v = arrays(length=S)
  found = dot_product_attention(q, k, v, local_window_size=window)
  theirs = jax.nn.dot_product_attention(q, k, v, local_window_size=2)
  np.testing.assert_allclose(found, theirs, atol=2e-6)


def test_implementations_of_jax_by_name():
  q, k, v = arrays()
  best = dot_product_attention(q, k, v)
  named = dot_product_attention(q, k, v, implementation="xla")
  np.testing.assert_array_equal(named, best)
  with pytest.raises(NotImplementedError, match=r"no implementation 'cudnn'"):
    dot_product_attention(q, k, v, implementation="cudnn")
  with pytest.raises(ValueError, match="'nonsense' is unknown"):
    dot_product_attention(q, k, v, implementation="nonsense")


@pytest.mark.parametrize(("group", "mapped"), [(2, True), (4, False)])
def test_gradients_are_those_of_jax(group, mapped):
  """As tests/nn_test.py of JAX asks of its own implementations."""
  rng = np.random.default_rng(5)
  draw = lambda *s: jnp.asarray(rng.normal(size=s), jnp.float32)
  q, k, v = draw(B, T, H, D), *(draw(B, S, H // group, D) for _ in "kv")
  bias, out = draw(1, H, T, S), draw(B, T, H, D)
  mask = jnp.ones((1, 1, S), bool)

  def found(fn):
    call = lambda q, k, v, bias: fn(q, k, v, bias, mask)
    if mapped:
      call = jax.vmap(call, in_axes=(0, 0, 0, None))
    given = (q, k, v, bias[0] if mapped else bias)
    with jax.numpy_rank_promotion("allow"):
      return jax.jit(lambda *x: jax.vjp(call, *x)[1](out))(*given)

  for ours, theirs in zip(
    found(dot_product_attention),
    found(jax.nn.dot_product_attention),
    strict=True,
  ):
    np.testing.assert_allclose(ours, theirs, atol=5e-6)


def test_weights_are_not_sown_and_products_not_replaced():
  with pytest.raises(NotImplementedError, match=r"attnjax\.attention_weights"):
    dot_product_attention(*arrays(), module=object())
  layer = flax.linen.MultiHeadDotProductAttention(
    num_heads=2,
    attention_fn=dot_product_attention,
    qk_attn_weights_einsum_cls=lambda: jnp.einsum,
    attn_weights_value_einsum_cls=lambda: jnp.einsum,
  )
  with pytest.raises(NotImplementedError, match="einsum must be None"):
    layer.init(jax.random.key(0), jnp.ones((B, T, 6)))


def test_a_mask_and_a_conflicting_is_causal():
  """flax#5591: decoding with is_causal saw key 0 only."""
  q, k, v = arrays(length=1, keys=4)
  mask = jnp.ones((B, 1, 1, 4), bool)
  with pytest.raises(ValueError, match=r"T=1 queries and S=4 keys.*drop is_ca"):
    dot_product_attention(q, k, v, mask=mask, is_causal=True)
  seen = dot_product_attention(q, k, v, mask=mask)
  np.testing.assert_allclose(seen, attnjax.attend(q, k, v), atol=1e-6)
