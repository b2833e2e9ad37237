"""What mixes tokens beside a memory never knows a later one, and decodes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax import memory
from attnjax.nn import (
  MemoryAlone,
  MemoryAsContext,
  MemoryAsGate,
  MemoryAsLayer,
  NeuralMemory,
  WindowAttention,
)
from attnjax.nn.combined import Combined
from attnjax.nn.memory_blocks import AttentionAlone
from tests import drawn
from tests.few import few

B, T, M, H = 2, 11, 6, 2
(X,) = drawn.arrays((B, T, M))


def held(rule, rngs):
  return NeuralMemory(M, H, rule=rule, rngs=rngs)


def attention(window, rngs):
  return WindowAttention(
    M, H, window=window, persistent=2, convolution=2, rngs=rngs
  )


def context(rngs):
  # Segments of 4 do not divide 11; chunks of 2 divide a segment.
  layers = attention(None, rngs), held(memory.titans(chunk=2), rngs)
  return MemoryAsContext(*layers, width=M, segment=4, rngs=rngs)


def gate(rngs, combine="add"):
  layers = attention(3, rngs), held(memory.titans(chunk=4), rngs)
  return MemoryAsGate(*layers, width=M, combine=combine, rngs=rngs)


def layer(rngs):
  layers = attention(3, rngs), held(memory.gated_delta_net(chunk=4), rngs)
  return MemoryAsLayer(*layers, width=M, rngs=rngs)


MIXERS = {
  "window": lambda rngs: AttentionAlone(attention(3, rngs)),
  "all": lambda rngs: AttentionAlone(attention(None, rngs)),
  "titans": lambda rngs: MemoryAlone(held(memory.titans(chunk=4), rngs)),
  "two writes": lambda rngs: MemoryAlone(
    NeuralMemory(
      M, H, rule=memory.gated_delta_net(chunk=4), writes=2, rngs=rngs
    )
  ),
  "channels": lambda rngs: MemoryAlone(
    NeuralMemory(
      M, H, rule=memory.kimi_delta_attention(chunk=4), writes=2, rngs=rngs
    )
  ),
  "lact": lambda rngs: MemoryAlone(held(memory.lact(chunk=4), rngs)),
  "mac": context,
  "mag": gate,
  "mag, gate": lambda rngs: gate(rngs, "gate"),
  "mal": layer,
}


def made(name):
  return drawn.module(lambda: MIXERS[name](nnx.Rngs(0)))


# The others mix as a part of these does.
@pytest.fixture(params=few(MIXERS, "all", "mac", "channels"))
def mixer(request):
  return made(request.param)


def test_the_derivative_by_a_later_token_is_exactly_zero(mixer):
  weights = jnp.arange(1.0, M + 1)

  @jax.jit
  def derivatives(x):
    """By token j of output i, ``T T M``."""
    return jax.jacrev(lambda x: mixer(x)[0] @ weights)(x)

  found = np.abs(np.asarray(derivatives(X[0]))).max(-1)
  later = np.triu(np.ones((T, T), bool), 1)
  assert (found[later] == 0).all()
  assert (np.diag(found) > 0).all()
  # Every one of them sees the token before, across the borders of segments.
  assert (np.diag(found, -1) > 0).all()


def test_token_by_token_it_says_what_it_says_at_once(mixer):
  @jax.jit
  def both(x):
    state = mixer.init_state((B,), T)
    step = lambda s, token: mixer.decode(token[:, None], s)[::-1]
    state = jax.tree.map(jnp.asarray, state)
    _, y = jax.lax.scan(step, state, jnp.swapaxes(x, 0, 1))
    return mixer(x)[0], jnp.swapaxes(y[:, :, 0], 0, 1)

  at_once, by_token = both(X)
  np.testing.assert_allclose(at_once, by_token, atol=2e-5)


# Within a segment of MAC or a chunk, at the border of one, and of no tokens.
CUTS = [(8,), (3, 4), (0, 9), (11,)]
CASES = list(itertools.product(MIXERS, CUTS))


def in_pieces(mixer, x, cuts):
  state, y = mixer.init_state((B,), T), []
  for piece in jnp.split(x, cuts, axis=1):
    change, state = mixer.decode(piece, state)
    y.append(change)
  return jnp.concatenate(y, axis=1)


@pytest.mark.parametrize("case", few(CASES, ("mac", (8,)), ("window", (3, 4))))
def test_in_pieces_it_says_what_it_says_at_once(case):
  name, cuts = case
  mixer = made(name)
  pieces, whole = jax.jit(lambda x: (in_pieces(mixer, x, cuts), mixer(x)[0]))(X)
  np.testing.assert_allclose(pieces, whole, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_gradients_go_through_the_state_of_a_piece(case):
  name, cuts = case
  mixer, (weights,) = made(name), drawn.arrays((B, T, M), seed=1)

  @jax.jit
  def gradients(x):
    of = lambda f: jax.grad(lambda x: (weights * f(x)).sum())(x)
    return of(lambda x: in_pieces(mixer, x, cuts)), of(lambda x: mixer(x)[0])

  np.testing.assert_allclose(*gradients(X), atol=2e-4)


@pytest.mark.parametrize("name", ["titans", "mac", "mag", "mal", "window"])
def test_what_it_carries_does_not_grow(name):
  mixer = made(name)
  size = lambda n: sum(
    x.size for x in jax.tree.leaves(mixer.init_state((B,), n))
  )
  assert size(8) == size(8000) > 0


@pytest.mark.parametrize("name", few(["titans", "mac", "mag", "mal"], "titans"))
def test_beyond_the_window_attention_is_blind_and_a_memory_is_not(name):
  def reach(name):  # of a window 3 tokens, of the convolution one more
    mixer = made(name)
    far = lambda x: mixer(jnp.concatenate([x[None], X[0, 1:]]))[0][-1].sum()
    return float(jnp.abs(jax.jit(jax.grad(far))(X[0, 0])).max())

  assert reach("window") == 0
  assert reach(name) > 0


def test_persistent_tokens_are_seen_from_everywhere():
  mixer = made("window")

  by_mixer = jax.jit(jax.grad(lambda mixer: mixer(X)[0][:, -1].sum()))(mixer)
  by_token = by_mixer.attention.persistent[...]
  assert (jnp.abs(by_token).max(-1) > 0).all()


def test_a_context_that_cannot_be():
  rngs = nnx.Rngs(0)
  near, rule = attention(3, rngs), memory.titans(chunk=4)
  with pytest.raises(ValueError, match="its segments are the window"):
    MemoryAsContext(near, held(rule, rngs), width=M, segment=4, rngs=rngs)
  everything = attention(None, rngs)
  with pytest.raises(ValueError, match="multiple of the rule's chunk of 4"):
    MemoryAsContext(everything, held(rule, rngs), width=M, segment=6, rngs=rngs)


def test_only_a_gate_closes_where_the_memory_says_no():
  """A memory that is sure leaves nothing of attention, and a sum itself."""
  y, m = jnp.ones((T, M)), -jnp.ones((T, M))
  of = lambda combine: Combined(M, combine=combine, rngs=nnx.Rngs(0))
  for combine, closes in (("gate", True), ("add", False)):
    layer = of(combine)
    scale = layer.memory_norm.scale
    scale[...] = 1e4 * scale[...]
    assert bool((layer(y, m) == 0).all()) == closes
  with pytest.raises(ValueError, match=r"one of \['add', 'gate'\], got 'sum'"):
    of("sum")


def test_sizes_that_cannot_be():
  rngs = nnx.Rngs(0)
  with pytest.raises(ValueError, match="heads=4 must divide width=6"):
    NeuralMemory(M, 4, rngs=rngs)
  with pytest.raises(ValueError, match="must see 1 token or more, got 0"):
    NeuralMemory(M, H, convolution=0, rngs=rngs)
  with pytest.raises(ValueError, match=r"below 2\.0, got 2\.5"):
    NeuralMemory(M, H, rule=memory.delta_net(), max_rate=2.5, rngs=rngs)
  with pytest.raises(ValueError, match="a number of tokens, not of writes"):
    NeuralMemory(M, H, rule=memory.titans(), writes=2, rngs=rngs)
  with pytest.raises(ValueError, match=r"writes must be 1 .* got 0"):
    NeuralMemory(M, H, rule=memory.delta_net(), writes=0, rngs=rngs)
  with pytest.raises(ValueError, match="window must be 0 or more tokens"):
    WindowAttention(M, H, window=-1, rngs=rngs)
  with pytest.raises(ValueError, match="must see 1 token or more, got 0"):
    WindowAttention(M, H, window=1, convolution=0, rngs=rngs)


def test_gates_stay_in_their_ranges():
  module = drawn.module(lambda: held(memory.yaad(chunk=4), nnx.Rngs(0)))
  gates = module._gates(1e4 * X)
  for name in ("momentum", "decay", "threshold", "rate"):
    values = getattr(gates, name, None)
    if values is not None:
      assert 0 <= float(values.min()) <= float(values.max()) <= 1
