"""The attention module: its parameters, given to the primitives."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax import cache, masks, positions
from attnjax.nn import MultiHeadAttention
from attnjax.ops.multi_head import decode_attention
from tests import drawn

B, T, S, M, H, K, D, E = 3, 5, 7, 13, 4, 2, 6, 11
SIZES = {"kv_heads": K, "head_width": D, "value_width": E, "use_bias": True}
X, MEMORY = drawn.arrays((B, T, M), (B, S, M))


def layer(**kw):
  make = lambda: MultiHeadAttention(M, H, **(SIZES | kw), rngs=nnx.Rngs(0))
  return drawn.module(make)


def test_is_the_primitive_with_its_parameters():
  module = layer()
  np.testing.assert_array_equal(
    module(X, MEMORY, mask=masks.causal()),
    attnjax.multi_head_attention(module.params, X, MEMORY, mask=masks.causal()),
  )


@pytest.mark.slow
def test_decodes_as_the_primitive_does():
  module = layer(position_encoding=positions.Rotary())
  state = cache.init((B,), T, K, D, value_width=E)
  (out, held), (out_, held_) = (
    module.decode(X, state),
    decode_attention(
      module.params, X, state, position_encoding=positions.Rotary()
    ),
  )
  np.testing.assert_array_equal(out, out_)
  np.testing.assert_array_equal(held.key, held_.key)
  np.testing.assert_allclose(out, module(X, mask=masks.causal()), atol=1e-5)


def test_its_two_forms_agree():
  joined, added = (layer(combine=c)(X, MEMORY) for c in ("concatenate", "sum"))
  np.testing.assert_allclose(joined, added, atol=1e-5)


@dataclasses.dataclass(frozen=True)
class Doubled:
  """An attention that reads every value twice."""

  def __call__(self, query, key, value, **kw):
    return attnjax.attend(query, key, value + value, **kw)


def test_any_attention_can_be_injected():
  plain, doubled = layer(), layer(attend=Doubled())
  bias = plain.output.bias[...].reshape(1, 1, M)
  np.testing.assert_allclose(
    doubled(X) - bias, 2 * (plain(X) - bias), atol=1e-5
  )


def test_an_injected_attention_does_not_retrace():
  @jax.jit
  @chex.assert_max_traces(n=1)
  def run(module, x):
    return module(x)

  for seed in range(3):
    fresh = lambda: MultiHeadAttention(
      M, H, **SIZES, attend=Doubled(), rngs=nnx.Rngs(0)
    )
    run(drawn.module(fresh, seed=seed), X)


def test_holds_floating_point_parameters_and_nothing_else():
  leaves = jax.tree.leaves(layer())
  assert all(x.dtype == jnp.float32 for x in leaves)
  assert len(leaves) == 8
  assert len(jax.tree.leaves(layer(use_bias=False))) == 4


def test_keeps_the_variance_of_its_inputs():
  make = jax.jit(lambda key: MultiHeadAttention(256, 4, rngs=nnx.Rngs(key)))
  module = make(jax.random.key(0))
  for projection in module.params[:3]:
    np.testing.assert_allclose(projection.kernel.var(), 1 / 256, rtol=0.05)
  np.testing.assert_allclose(
    module.output.kernel[...].var(), 1 / 256, rtol=0.05
  )


@pytest.mark.parametrize(
  ("heads", "kw", "words"),
  [
    (5, {}, "heads=5 must divide width=12; choose another .* head_width"),
    (0, {}, "heads=0 must divide width=12"),
    (4, {"kv_heads": 3}, "kv_heads=3 must divide heads=4"),
    (4, {"kv_heads": 0}, "kv_heads=0 must divide heads=4"),
  ],
)
def test_heads_that_do_not_divide(heads, kw, words):
  with pytest.raises(ValueError, match=words):
    MultiHeadAttention(12, heads, **kw, rngs=nnx.Rngs(0))
