"""The block adds what its two layers propose."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax import cache, masks
from attnjax.nn import (
  CrossBlock,
  FeedForward,
  MultiHeadAttention,
  TransformerBlock,
)
from attnjax.nn.norm import make_norm
from tests import drawn

T, M, F, H = 5, 6, 17, 2
(X,) = drawn.arrays((T, M))


def block(norm="rms", use_bias=False, order="pre"):
  def make():
    rngs = nnx.Rngs(0)
    layers = MultiHeadAttention(M, H, rngs=rngs), FeedForward(M, F, rngs=rngs)
    options = {"norm": norm, "use_bias": use_bias, "order": order}
    return TransformerBlock(*layers, width=M, **options, rngs=rngs)

  return drawn.module(make)


def feed_forward(activation, use_bias=True):
  make = lambda: FeedForward(
    M, F, activation=activation, use_bias=use_bias, rngs=nnx.Rngs(0)
  )
  return drawn.module(make)


def affine(layer, x):
  """x W + b in float64."""
  kernel, bias = (np.asarray(p[...]) for p in (layer.kernel, layer.bias))
  return x @ kernel.astype(np.float64) + bias


def gelu_erf(x):
  """As it is defined: x times the chance of a normal draw below x."""
  return x / 2 * (1 + np.vectorize(math.erf)(x / 2**0.5))


def gelu(x):
  """By tanh, as GPT-2 has it and as `jax.nn.gelu` is."""
  inner = (2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)
  return 0.5 * x * (1 + np.tanh(inner))


@pytest.mark.parametrize(
  ("activation", "formula"),
  [
    ("relu", lambda x: np.maximum(x, 0)),
    ("squared_relu", lambda x: np.maximum(x, 0) ** 2),
    ("gelu", gelu),
    ("gelu_erf", gelu_erf),
  ],
)
def test_feed_forward_follows_its_formula(activation, formula):
  layer, x = feed_forward(activation), np.asarray(X, np.float64)
  expected = affine(layer.down, formula(affine(layer.up, x)))
  np.testing.assert_allclose(layer(X), expected, atol=1e-5)


def test_swiglu_follows_its_formula():
  layer, x = feed_forward("swiglu"), np.asarray(X, np.float64)
  gate = affine(layer.gate, x)
  hidden = gate / (1 + np.exp(-gate)) * affine(layer.up, x)
  np.testing.assert_allclose(layer(X), affine(layer.down, hidden), atol=1e-5)


def test_feed_forward_is_position_by_position():
  layer = feed_forward("gelu")
  jacobian = jax.jacobian(lambda x: layer(x).sum(-1))(X)
  for i, j in np.ndindex(T, T):
    assert (jnp.abs(jacobian[i, j]).max() > 0) == (i == j)


@pytest.mark.parametrize(
  ("norm", "use_bias"), [("rms", False), ("layer", True)]
)
def test_norms_follow_their_formula(norm, use_bias):
  layer = drawn.module(lambda: make_norm(norm, M, use_bias, nnx.Rngs(0)))
  x = np.asarray(X, np.float64)
  if norm == "layer":
    x = x - x.mean(-1, keepdims=True)
  expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
  expected = expected * np.asarray(layer.scale[...])
  if use_bias:
    expected = expected + np.asarray(layer.bias[...])
  np.testing.assert_allclose(layer(X), expected, atol=1e-5)


@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_norms_of_few_bits_have_statistics_of_many(norm):
  layer = drawn.module(lambda: make_norm(norm, M, True, nnx.Rngs(0)))
  half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), layer)
  x = 300 * X.astype(jnp.bfloat16)
  got = half(x)
  assert got.dtype == jnp.bfloat16
  full = jax.tree.map(lambda p: p.astype(jnp.float32), half)
  expected = full(x.astype(jnp.float32))
  np.testing.assert_allclose(
    got.astype(jnp.float32), expected, rtol=0.01, atol=0.01
  )


def test_a_block_adds_both_changes():
  module = block()
  kw = {"mask": masks.causal()}
  x = X + module.attention(module.attention_norm(X), **kw)
  x = x + module.feed_forward(module.feed_forward_norm(x))
  np.testing.assert_allclose(module(X, **kw), x, atol=1e-6)


def test_a_block_may_normalise_afterwards():
  module = block("layer", use_bias=True, order="post")
  x = module.attention_norm(X + module.attention(X))
  x = module.feed_forward_norm(x + module.feed_forward(x))
  np.testing.assert_allclose(module(X), x, atol=1e-6)
  assert np.abs(x - block("layer", use_bias=True)(X)).max() > 0.1


def test_the_epsilon_of_a_norm():
  for norm in ("rms", "layer"):
    layer = make_norm(norm, M, False, nnx.Rngs(0), epsilon=9.0)
    # Of -4 and 4 the mean is 0 and the mean square 16.
    x = jnp.array([-4.0, 4.0, -4.0, 4.0, -4.0, 4.0])
    np.testing.assert_allclose(layer(x), x / 5, rtol=1e-6)


def test_a_block_of_silent_layers_changes_nothing():
  module = block("layer", use_bias=True)
  for layer in (module.attention.output, module.feed_forward.down):
    layer.kernel[...] = jnp.zeros_like(layer.kernel[...])
  np.testing.assert_array_equal(module(X), X)


def test_a_block_hands_on_what_attention_knows():
  module = block()
  x, aux = module(X, aux=("weights",))
  np.testing.assert_allclose(x, module(X), atol=1e-6)
  _, inner = module.attention(module.attention_norm(X), aux=("weights",))
  np.testing.assert_array_equal(aux.weights, inner.weights)


@pytest.mark.parametrize("order", ["pre", "post"])
def test_a_block_decodes(order):
  module = block(order=order)
  state = cache.init((), T, H, M // H)
  x, held = module.decode(X, state)
  np.testing.assert_allclose(x, module(X, mask=masks.causal()), atol=1e-5)
  assert int(held.length) == T
  again, _, aux = module.decode(X, state, aux=("entropy",))
  np.testing.assert_array_equal(x, again)
  assert aux.entropy.shape == (H, T)


def test_options_that_do_not_exist():
  with pytest.raises(ValueError, match=r"activation must be .* got 'tanh'"):
    FeedForward(M, F, activation="tanh", rngs=nnx.Rngs(0))
  with pytest.raises(ValueError, match=r"norm must be .* or 'layer', got 'b"):
    make_norm("batch", M, False, nnx.Rngs(0))


def test_an_order_that_does_not_exist(as_a_user):
  with pytest.raises(
    ValueError, match=r"must be one of .*'pre', 'post'.* got 'both'"
  ):
    block(order="both")


def test_a_cross_block_takes_a_boolean_array_as_its_memory_mask():
  rngs = nnx.Rngs(0)
  attention = lambda: MultiHeadAttention(M, H, rngs=rngs)
  layers = attention(), attention(), FeedForward(M, F, rngs=rngs)
  made = CrossBlock(*layers, width=M, rngs=rngs)
  memory = made.cross_attention.project_memory(X)
  seen = np.arange(T) < 3
  of_array = made(X, *memory, memory_mask=seen[None])
  of_mask = made(X, *memory, memory_mask=masks.prefix(3))
  np.testing.assert_allclose(of_array, of_mask, rtol=1e-6)
  empty = cache.init((), T, H, M // H)
  decoded, _ = made.decode(X, empty, *memory, memory_mask=seen[None])
  np.testing.assert_allclose(
    decoded,
    made(X, *memory, memory_mask=seen[None], mask=masks.causal()),
    rtol=1e-5,
    atol=1e-6,
  )
