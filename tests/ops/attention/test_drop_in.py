"""`dot_product_attention` in the places of JAX's and of Flax's."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax import dot_product_attention

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


def test_flax_dropout_is_honoured_or_refused():
  q, k, v = arrays()
  options = {"dropout_rng": jax.random.key(0), "dropout_rate": 0.5}
  with pytest.raises(NotImplementedError, match="broadcast_dropout=False to"):
    dot_product_attention(q, k, v, broadcast_dropout=True, **options)
  plain = dot_product_attention(q, k, v)
  dropped = dot_product_attention(q, k, v, **options)
  assert (plain != dropped).any()
  kept = dot_product_attention(q, k, v, deterministic=True, **options)
  np.testing.assert_array_equal(plain, kept)


def test_weights_are_not_sown():
  with pytest.raises(NotImplementedError, match=r"attnjax\.attention_weights"):
    dot_product_attention(*arrays(), module=object())


def test_a_mask_and_a_conflicting_is_causal():
  """flax#5591: decoding with is_causal saw key 0 only."""
  q, k, v = arrays(length=1, keys=4)
  mask = jnp.ones((B, 1, 1, 4), bool)
  with pytest.raises(ValueError, match=r"T=1 queries and S=4 keys.*drop is_ca"):
    dot_product_attention(q, k, v, mask=mask, is_causal=True)
  seen = dot_product_attention(q, k, v, mask=mask)
  np.testing.assert_allclose(seen, attnjax.attend(q, k, v), atol=1e-6)
