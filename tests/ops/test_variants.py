"""The primitives say the same with and without `jit`, and under `pmap`."""

import chex
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

import attnjax
from attnjax import masks, memory, positions

B, T, H, D = 2, 5, 3, 4


def tokens():
  drawn = np.random.default_rng(0).normal(size=(B, T, H, D))
  return jnp.asarray(drawn, jnp.float32)


def attended(x):
  return attnjax.attend(x, x, x, mask=masks.causal())


def weighed(x):
  return attnjax.attention_weights(x, x)


def glimpsed(x):
  return attnjax.glimpse(x, x.sum((-2, -1)), axis=-3)


def turned(x):
  return positions.rotary(x, jnp.arange(T))


def remembered(x):
  rule = memory.linear_attention(3)
  state = memory.init(rule, (B,), heads=H, width=D, value_width=D)
  gates = memory.Gates(jnp.full((B, T, H), 0.5))
  return memory.stream(state, x, x, x, gates)[1]


class TestPrimitives(chex.TestCase):
  @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
  @parameterized.named_parameters(
    (f.__name__, f) for f in (attended, weighed, glimpsed, turned, remembered)
  )
  def test_each_variant_says_the_same(self, function):
    x = tokens()
    found = self.variant(function)(x)
    chex.assert_tree_all_finite(found)
    chex.assert_trees_all_close(found, function(x), atol=1e-6)
