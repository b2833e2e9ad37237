"""How layers begin: no memory diverges, and a head knows its neighbour."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax import memory
from attnjax.nn import NeuralMemory, WindowAttention
from tests.few import few

RULES = {
  "titans": memory.titans,
  "ttt_linear": memory.ttt_linear,
  "ttt_mlp": memory.ttt_mlp,
  "yaad": memory.yaad,
  "gated_delta_net": memory.gated_delta_net,
}


@pytest.mark.parametrize("chunk", few([5, 64], 5))
@pytest.mark.parametrize("rule", RULES)
def test_one_token_over_and_over_does_not_make_a_memory_diverge(rule, chunk):
  layer = NeuralMemory(14, 2, rule=RULES[rule](chunk=chunk), rngs=nnx.Rngs(3))
  x = jnp.broadcast_to(jax.random.normal(jax.random.key(1), (14,)), (640, 14))
  _, state = jax.jit(lambda layer, x: layer(x))(layer, x)
  assert float(state.memory.norm.max()) < 100


def test_gates_begin_alike_for_every_token():
  layer = NeuralMemory(14, 2, rule=memory.titans(chunk=5), rngs=nnx.Rngs(3))
  gates = layer._gates(jax.random.normal(jax.random.key(1), (11, 14)))
  for gate in (gates.rate, gates.momentum, gates.decay):
    np.testing.assert_array_equal(gate, jnp.broadcast_to(gate[0], gate.shape))


def test_a_convolution_may_begin_as_none():
  x = jax.random.normal(jax.random.key(1), (11, 14))
  made = lambda n: WindowAttention(
    14, 2, window=3, convolution=n, start="identity", rngs=nnx.Rngs(0)
  )
  np.testing.assert_array_equal(made(1)(x), made(4)(x))


def test_a_head_can_look_at_the_token_before():
  layer = WindowAttention(8, 4, window=None, rngs=nnx.Rngs(0))
  for name in ("query", "key"):  # content says nothing
    kernel = getattr(layer.attention, name).kernel
    kernel[...] = jnp.zeros_like(kernel[...])
  weigh = lambda x: jax.jacrev(lambda x: layer(x)[-1].sum())(x)
  size = np.abs(np.asarray(weigh(jnp.ones((9, 8))))).sum(-1)
  assert (np.diff(size) > 0).all()
