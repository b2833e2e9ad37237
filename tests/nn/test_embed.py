"""An embedding is a table: read by row, read out by dot product."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.nn import Embedding
from tests import drawn

V, M = 11, 5
TOKENS = jnp.array([[3, 1, 10], [0, 3, 3]])


@pytest.fixture
def embed():
  return drawn.module(lambda: Embedding(V, M, rngs=nnx.Rngs(0)))


def test_a_lookup_is_the_product_with_a_onehot(embed):
  onehot = jax.nn.one_hot(TOKENS, V)
  product = jnp.einsum("btv,vm->btm", onehot, embed.embedding[...])
  np.testing.assert_allclose(embed(TOKENS), product, atol=1e-6)


def test_gradients_reach_the_rows_that_were_read(embed):
  grad = jax.grad(lambda e: e(TOKENS).sum())(embed).embedding[...]
  read = np.bincount(np.asarray(TOKENS).ravel(), minlength=V)
  np.testing.assert_array_equal(grad, np.repeat(read[:, None], M, 1))


def test_a_token_that_is_not_in_the_table_is_nan(embed):
  got = embed(jnp.array([V, -1, V - 1]))
  assert jnp.isnan(got[:2]).all()
  assert jnp.isfinite(got[2]).all()


@pytest.mark.usefixtures("as_a_user")
def test_bytes_are_read_as_they_are(embed):
  narrow = np.asarray(TOKENS, np.uint8)
  big = drawn.module(lambda: Embedding(256, M, rngs=nnx.Rngs(0)))
  np.testing.assert_array_equal(big(jnp.asarray(narrow)), big(TOKENS))


def test_reads_out_dot_products(embed):
  (x,) = drawn.arrays((2, 3, M))
  expected = np.asarray(x) @ np.asarray(embed.embedding[...]).T
  np.testing.assert_allclose(embed.logits(x), expected, atol=1e-6)
  # A table read out by itself says of each token that it is itself.
  unit = embed.embedding[...] / jnp.linalg.norm(
    embed.embedding[...], axis=-1, keepdims=True
  )
  embed.embedding[...] = unit
  same = embed.logits(embed(jnp.arange(V))).argmax(-1)
  assert same.tolist() == list(range(V))


def test_few_bits_are_summed_in_float32():
  embed = drawn.module(lambda: Embedding(V, 1000, rngs=nnx.Rngs(0)))
  half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), embed)
  x = half(TOKENS)
  assert x.dtype == jnp.bfloat16
  logits = half.logits(x)
  assert logits.dtype == jnp.float32
  exact = (
    np.asarray(x, np.float64) @ np.asarray(half.embedding[...], np.float64).T
  )
  np.testing.assert_allclose(logits, exact, rtol=1e-4, atol=1e-3)


def test_starts_small():
  table = Embedding(997, 13, stddev=0.5, rngs=nnx.Rngs(0)).embedding[...]
  np.testing.assert_allclose(table.std(), 0.5, rtol=0.05)


def test_the_old_name_of_logits_still_works_and_warns(embed):
  (x,) = drawn.arrays((2, 3, M))
  with pytest.warns(DeprecationWarning, match=r"Embedding\.logits"):
    old = embed.attend(x)
  np.testing.assert_array_equal(old, embed.logits(x))
