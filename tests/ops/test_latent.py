"""Latent attention: both ways against float64, causality, the cache."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.ops import cache, masks
from attnjax.ops.heads import Projection
from attnjax.ops.latent import (
  LatentParams,
  decode_latent_attention,
  latent_attention,
)
from attnjax.ops.positions import Rotary
from tests.few import few

B, T, M, H, Q, Z, N, R, E = 2, 7, 11, 3, 5, 13, 3, 4, 2
BOTH = pytest.mark.parametrize("absorbed", [False, True])
ROTARY = Rotary(base=100.0, interleaved=True)


def draw(*shape, seed=0):
  return np.random.default_rng([seed, *shape]).normal(0, 0.5, shape)


def params(dtype=jnp.float32, through=True):
  """Parameters, all different, with biases where there may be one."""
  cast = lambda x: jnp.asarray(x, dtype)
  linear = lambda *shape: Projection(cast(draw(*shape)), cast(draw(shape[-1])))
  return LatentParams(
    cast(draw(Q if through else M, H, N + R)),
    cast(draw(Z, H, N)),
    cast(draw(Z, H, E)),
    linear(M, Z),
    linear(M, R),
    linear(H, E, M),
    linear(M, Q) if through else None,
  )


def rotated(x, positions):
  """Pairs 2i, 2i + 1 turned by position · 100^(-2i / R), in float64."""
  angle = positions[:, None] * 100.0 ** (-np.arange(0, R, 2) / R)
  pairs = x[..., 0::2] + 1j * x[..., 1::2]
  turned = pairs * np.exp(1j * angle)
  return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


def oracle(p, x, scale):
  """The expanded sums of one row, head by head, in float64."""
  wide = lambda a: np.asarray(a, np.float64)
  of = lambda layer, x: x @ wide(layer.kernel) + wide(layer.bias)
  at, out = np.arange(len(x)), wide(p.output.bias)
  u = of(p.query_latent, x) * 2 if p.query_latent is not None else x
  c, key = of(p.latent, x) * 3, rotated(of(p.rotary_key, x), at)
  for h in range(H):
    q = u @ wide(p.query)[:, h]
    q = np.concatenate([q[:, :N], rotated(q[:, N:], at)], axis=1)
    k = np.concatenate([c @ wide(p.key)[:, h], key], axis=1)
    logits = np.where(np.tri(len(x), dtype=bool), scale * (q @ k.T), -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    out = out + weights @ (c @ wide(p.value)[:, h]) @ wide(p.output.kernel)[h]
  return out


OPTIONS = {
  "position_encoding": ROTARY,
  "query_norm": lambda u: 2 * u,
  "latent_norm": lambda c: 3 * c,
}


@BOTH
@pytest.mark.parametrize("through", [True, False])
def test_both_ways_have_the_outputs_of_float64(absorbed, through):
  p, x = params(through=through), draw(B, T, M)
  out = latent_attention(
    p,
    jnp.asarray(x, jnp.float32),
    mask=masks.causal(),
    scale=0.3,
    absorbed=absorbed,
    **OPTIONS,
  )
  expected = np.stack([oracle(p, row, 0.3) for row in x])
  np.testing.assert_allclose(out, expected, atol=2e-6 * np.ptp(expected))


@BOTH
def test_no_output_depends_on_a_later_input(absorbed):
  p, x = params(), jnp.asarray(draw(T, M), jnp.float32)
  run = lambda x: latent_attention(
    p, x, mask=masks.causal(), absorbed=absorbed, **OPTIONS
  )
  slopes = jax.jacobian(run)(x)
  size = np.abs(slopes).max(axis=(1, 3))
  assert (size[np.triu_indices(T, 1)] == 0).all()
  assert (size[np.tril_indices(T)] > 0).all()


@pytest.mark.parametrize("absorbed", few([False, True], True))
@pytest.mark.parametrize(
  "chunks",
  [
    (4, 1, 2),
    pytest.param((1,) * T, marks=pytest.mark.slow),
    pytest.param((T,), marks=pytest.mark.slow),
  ],
)
def test_a_cache_gives_the_whole_in_any_pieces(absorbed, chunks):
  p, x = params(), jnp.asarray(draw(B, T, M), jnp.float32)
  whole = latent_attention(p, x, mask=masks.causal(), **OPTIONS)
  state = cache.init((B,), 9, 1, R, value_width=Z)
  read, start = [], 0
  for count in chunks:
    piece = x[:, start : start + count]
    out, state = decode_latent_attention(
      p, piece, state, absorbed=absorbed, **OPTIONS
    )
    read.append(out)
    start += count
  np.testing.assert_allclose(
    jnp.concatenate(read, axis=1), whole, atol=3e-6 * np.ptp(whole)
  )
  # What a token leaves does not grow with the heads.
  assert state.key.size + state.value.size == B * 9 * (Z + R)


@pytest.mark.slow
def test_rows_of_other_lengths_are_as_alone():
  p, x = params(), jnp.asarray(draw(B, T, M), jnp.float32)
  lengths = jnp.array([3, 5])
  both = cache.init((B,), 9, 1, R, value_width=Z)
  _, both = decode_latent_attention(p, x, both, lengths=lengths, **OPTIONS)
  last, both = decode_latent_attention(p, x[:, -1:], both, **OPTIONS)
  for row, length in enumerate([3, 5]):
    alone = jnp.concatenate([x[row, :length], x[row, -1:]])
    out = latent_attention(p, alone, mask=masks.causal(), **OPTIONS)
    np.testing.assert_allclose(last[row, 0], out[-1], atol=1e-5)


@BOTH
@pytest.mark.parametrize("length", [0, 1])
def test_few_tokens_and_rows_that_see_nothing(absorbed, length):
  p = params(jnp.bfloat16)
  x = jnp.asarray(draw(length, M), jnp.bfloat16)
  out, aux = latent_attention(
    p,
    x,
    mask=jnp.zeros((length, length), bool),
    aux=("logsumexp",),
    absorbed=absorbed,
    position_encoding=ROTARY,
  )
  assert out.dtype == jnp.bfloat16
  assert aux.logsumexp.shape == (H, length)
  # Of no values the bias of the output is left.
  expected = jnp.broadcast_to(p.output.bias, (length, M))
  np.testing.assert_array_equal(out, expected)


@pytest.mark.slow
def test_gradients_of_both_ways_are_equal():
  p, x = params(), jnp.asarray(draw(T, M), jnp.float32)

  def loss(p, way):
    out = latent_attention(p, x, mask=masks.causal(), absorbed=way, **OPTIONS)
    return (out**2).sum()

  one, other = jax.grad(loss)(p, False), jax.grad(loss)(p, True)
  for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
    assert np.abs(a).max() > 0
    np.testing.assert_allclose(a, b, atol=2e-5 * np.ptp(b) + 1e-6)
