"""How layers begin: bound queries ask as keys are written, and it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax import memory
from attnjax.nn import NeuralMemory, WindowAttention
from attnjax.nn.starts import STARTS

M, H, D = 6, 2, 3
X = jax.random.normal(jax.random.key(3), (7, M))


def a_memory(start, convolution=4, rule=memory.delta_net()):
  return NeuralMemory(
    M, H, rule=rule, start=start, convolution=convolution, rngs=nnx.Rngs(0)
  )


def a_window(start, convolution=4):
  return WindowAttention(
    M, H, window=3, start=start, convolution=convolution, rngs=nnx.Rngs(0)
  )


def projected(layer):
  """Queries and keys ``T H D`` before any convolution."""
  if isinstance(layer, WindowAttention):
    attention = layer.attention
    return attention.query(X), attention.key(X)
  query, key, _ = jnp.split(layer.project(X), 3, axis=-1)
  return query.reshape(-1, H, D), key.reshape(-1, H, D)


@pytest.mark.parametrize("made", [a_memory, a_window])
def test_bound_a_token_asks_for_itself_by_its_squared_length(made):
  query, key = projected(made("bound"))
  length = lambda x: (x * x).sum(-1)
  np.testing.assert_array_equal((query * key).sum(-1), length(key))
  for start in ("drawn", "identity"):
    query, key = projected(made(start))
    assert np.abs((query * key).sum(-1) / length(key)).min() < 0.5


@pytest.mark.parametrize("made", [a_memory, a_window])
def test_bound_keys_are_the_token_before(made):
  taps = np.asarray(made("bound").kernel[...]).reshape(4, 3, -1)
  expected = np.zeros_like(taps)
  expected[3, [0, 2]] = 1
  expected[2, 1] = 1
  np.testing.assert_array_equal(taps, expected)


@pytest.mark.parametrize("made", [a_memory, a_window])
def test_drawn_taps_are_drawn_within_their_limit(made):
  taps = np.asarray(made("drawn").kernel[...])
  assert 0.4 < np.abs(taps).max() <= 0.5
  assert np.unique(taps).size == taps.size


def test_bound_is_what_makes_one_pass_recall():
  """Pairs are told once, untrained; with other starts answers are guesses."""
  width, pairs = 128, 8

  def right(start):
    layer = NeuralMemory(
      width, 1, rule=memory.delta_net(), start=start, rngs=nnx.Rngs(0)
    )
    words = jax.random.normal(jax.random.key(3), (2 * pairs, width))
    told = layer(words)[1]
    # Questions and values as their tokens alone, whatever stands before.
    query = layer.project(words[::2])[:, None, :width]
    value = layer.project(words[1::2])[:, 2 * width :]
    found = memory.read(told.memory, jax.nn.silu(query))[:, 0]
    answers = jnp.argmax(found @ jax.nn.silu(value).T, -1)
    return int((answers == jnp.arange(pairs)).sum())

  assert right("bound") == pairs
  assert right("identity") <= 2
  assert right("drawn") <= 2


def test_without_a_convolution_bound_binds_queries_alone():
  layer = a_window("bound", convolution=1)
  assert layer.kernel is None
  query, key = projected(layer)
  np.testing.assert_array_equal(query, key)


@pytest.mark.parametrize("made", [a_memory, a_window])
def test_a_start_that_cannot_be(made):
  with pytest.raises(
    ValueError, match=f"one of {list(STARTS)}".replace("[", "\\[")
  ):
    made("tied")
  with pytest.raises(ValueError, match="must see 2 tokens or more, got 1"):
    made("drawn", convolution=1)


@pytest.mark.slow
def test_the_gain_of_a_residual_is_learned_by_each_head():
  layer = a_memory("bound", rule=memory.ttt_linear(chunk=4))
  assert layer.gain.shape == (H, D)
  found = jax.grad(lambda layer: (layer(X)[0] ** 2).sum())(layer)
  assert (np.abs(found.gain[...]) > 0).all()
  assert a_memory("bound").gain is None
