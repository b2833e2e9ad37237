"""Sizes that leave little: nothing to attend to, and one program for all."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laid_out import KINDS, LAYOUTS, sharded

import attnjax
from attnjax import masks, parallel
from attnjax.parallel.division import attend_divided

ENGINE = attnjax.Blockwise(4, 4)  # does not divide a run: each is padded


def arrays(batch=2, length=24, keys=24, heads=2, width=4, value_width=4):
  draw = lambda *shape: jnp.ones((batch, *shape))
  return (
    draw(length, heads, width),
    draw(keys, heads, width),
    draw(keys, heads, value_width),
  )


def places(attention, length, keys):
  at = lambda n: attention.permute(np.arange(n, dtype=np.int32))
  return {"query_positions": at(length), "key_positions": at(keys)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
  "sizes",
  [
    {"batch": 0},
    {"length": 0},
    {"keys": 0},
    {"width": 0},
    {"value_width": 0},
  ],
  ids=str,
)
def test_nothing_is_attended_to(kind, layout, sizes):
  attention = sharded(kind, layout, sequence=2)
  query, key, value = arrays(**sizes)
  at = places(attention, query.shape[1], key.shape[1])
  out = jax.eval_shape(
    lambda *of: attention(
      *of, mask=masks.causal(), implementation=ENGINE, **at
    ),
    *(query, key, value),
  )
  chex.assert_shape(out, (*query.shape[:-1], value.shape[-1]))


def test_no_keys_are_zeros():
  ring = sharded("ring", "zigzag", sequence=2)
  query, key, value = arrays(keys=0)
  out = ring(query, key, value, **places(ring, 24, 0))
  np.testing.assert_array_equal(out, np.zeros(query.shape))


def test_an_eager_call_is_compiled_once_for_all_lengths_and_positions():
  ring = sharded("ring", "contiguous", sequence=2)
  found, programs = [], []
  for last in (5, 9, 24):
    mask = masks.causal() & masks.lengths(key=jnp.array([last, 3]))
    at = jnp.arange(24, dtype=jnp.int32) + last
    same = {"query_positions": at, "key_positions": at}
    query, key, _ = arrays()
    value = jnp.arange(24.0).reshape((1, 24, 1, 1)) * jnp.ones_like(key)
    found.append(ring(query, key, value, mask=mask, **same))
    expected = attnjax.attend(query, key, value, mask=mask, **same)
    np.testing.assert_allclose(found[-1], expected, rtol=1e-5)
    programs.append(attend_divided._cache_size())
  assert len(set(programs)) == 1
  assert float(abs(found[0] - found[1]).max()) > 1


@pytest.mark.usefixtures("as_a_user")
def test_axes_may_be_a_list():
  mesh = sharded("ring", "contiguous", batch=2, sequence=4).mesh
  ring = parallel.RingAttention(mesh, "sequence", batch=["batch"])
  query, key, value = arrays()
  chex.assert_shape(jax.jit(ring)(query, key, value), value.shape)


@pytest.mark.parametrize("kind", KINDS)
def test_what_all_logits_have_in_common_changes_no_gradient(kind):
  attention = sharded(kind, "contiguous", sequence=2)
  query, key, _ = arrays(width=1)
  bias = jnp.full((1, 1, 24, 24), -1e9)

  def read(value):
    out = attention(0 * query, key, value, bias=bias)
    return (out * jnp.arange(1.0, 25).reshape((1, 24, 1, 1))).sum()

  gradient = jax.grad(read)(jnp.ones((2, 24, 2, 1)))
  np.testing.assert_allclose(gradient, np.full((2, 24, 2, 1), 12.5), rtol=1e-5)
