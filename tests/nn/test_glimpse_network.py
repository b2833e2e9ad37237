"""The glimpse network: what it computes, what it learns, what is determined."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import attnjax
from attnjax import normalizers
from attnjax.nn import ContentGlimpse, GlimpseNetwork
from tests import drawn
from tests.few import few

C, T, D, M, N, B = 5, 7, 3, 6, 2, 11
CONTEXT = jnp.arange(B, dtype=jnp.int32) % C
NAMES = ("none", "softmax", "sigmoid", "hard")


def network(**options):
  return drawn.module(
    lambda: GlimpseNetwork(C, T, N, rngs=nnx.Rngs(0), **options), scale=1.0
  )


def content(**options):
  return drawn.module(
    lambda: ContentGlimpse(C, M, N, rngs=nnx.Rngs(0), **options), scale=1.0
  )


def test_it_is_the_published_network():
  net = network()
  (x,) = drawn.arrays((B, T))
  table = np.asarray(net.context.embedding[...], np.float64)
  kernel, bias = (
    np.asarray(p[...]) for p in (net.readout.kernel, net.readout.bias)
  )
  expected = (np.asarray(x) * table[np.asarray(CONTEXT)]) @ kernel + bias
  np.testing.assert_allclose(net(x, CONTEXT), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("width", few([None, D], D))
def test_effective_weights_are_the_slopes(name, pool, width):
  net = network(normalizer=name, pool=pool, width=width, temperature=0.8)
  shape = (T,) if width is None else (T, D)
  (x,) = drawn.arrays((B, *shape))
  effective = np.asarray(net.effective_weights(), np.float64)
  assert effective.shape == (C, *shape, N)
  slopes = jax.jit(jax.vmap(jax.jacobian(lambda x, c: net(x, c))))(x, CONTEXT)
  expected = np.moveaxis(np.asarray(slopes), 1, -1)
  chosen = effective[np.asarray(CONTEXT)]
  np.testing.assert_allclose(chosen, expected, rtol=1e-5, atol=1e-5)
  out = (chosen * np.asarray(x)[..., None]).sum(
    tuple(range(1, chosen.ndim - 1))
  )
  got = np.asarray(net(x, CONTEXT)) - np.asarray(net.readout.bias[...])
  np.testing.assert_allclose(got, out, rtol=1e-4, atol=1e-4)


def test_only_the_product_of_weight_and_readout_is_determined():
  net, (x,) = network(), drawn.arrays((B, T))
  scale = jnp.linspace(0.5, -2.0, T)  # signs may turn too
  other = network()
  other.context.embedding[...] = net.context.embedding[...] * scale[None]
  other.readout.kernel[...] = net.readout.kernel[...] / scale[:, None]
  np.testing.assert_allclose(
    other(x, CONTEXT), net(x, CONTEXT), rtol=1e-4, atol=1e-4
  )
  np.testing.assert_allclose(
    other.effective_weights(), net.effective_weights(), rtol=1e-5
  )
  assert np.abs(other.weights() - net.weights()).max() > 0.1


def test_shows_its_weights():
  net = network(normalizer="softmax")
  (x,) = drawn.arrays((B, T))
  out, aux = net(x, CONTEXT, aux=("weights", "entropy"))
  np.testing.assert_array_equal(out, net(x, CONTEXT))
  np.testing.assert_allclose(
    aux.weights, np.asarray(net.weights())[np.asarray(CONTEXT)], rtol=1e-6
  )
  np.testing.assert_allclose(aux.weights.sum(-1), 1, atol=1e-6)
  assert aux.entropy.shape == (B,)


def test_shapes_of_one_and_of_many_and_of_none():
  net, flat = network(width=D), network()
  assert flat(jnp.ones(T), jnp.array(4)).shape == (N,)
  assert flat(jnp.ones((2, B, T)), jnp.zeros((2, B), jnp.int32)).shape == (
    2, B, N,
  )  # fmt: skip
  assert net(jnp.ones((T, D)), jnp.array(4)).shape == (N,)
  assert flat(jnp.ones((0, T)), jnp.zeros(0, jnp.int32)).shape == (0, N)
  every = flat(jnp.ones((1, T)), jnp.arange(C))  # each context of one input
  assert every.shape == (C, N)


def test_an_unknown_context_is_nan_and_its_neighbours_are_not():
  net = network()
  got = net(jnp.ones((3, T)), jnp.array([C, -1, C - 1]))
  assert jnp.isnan(got[:2]).all()
  assert jnp.isfinite(got[2]).all()


@pytest.mark.parametrize("make", [network, content])
def test_what_is_masked_does_not_speak(make):
  net = make(normalizer="softmax")
  shape = (B, T) if make is network else (B, T, M)
  (x,) = drawn.arrays(shape)
  mask = jnp.arange(T)[None] < jnp.arange(1, B + 1)[:, None] % T
  hidden = mask.reshape(mask.shape + (1,) * (x.ndim - 2))
  other = jnp.where(hidden, x, 99.0)
  got = net(x, CONTEXT, mask=mask)
  np.testing.assert_allclose(net(other, CONTEXT, mask=mask), got, atol=1e-5)
  assert np.abs(np.asarray(net(other, CONTEXT) - got)).max() > 1e-2


@pytest.mark.parametrize(
  ("name", "normalizer"),
  [
    ("softmax", normalizers.softmax()),
    ("sigmoid", normalizers.sigmoid()),
    (normalizers.top_k(2), normalizers.top_k(2)),
  ],
  ids=["softmax", "sigmoid", "top_k"],
)
def test_scored_by_content_it_is_attention_with_one_query(name, normalizer):
  net = content(normalizer=name, key_width=D)
  (x,) = drawn.arrays((B, T, M))
  query = net.context.embedding[...][CONTEXT]
  keys = jnp.einsum("btm,md->btd", x, net.key.kernel[...])
  read = attnjax.attend(
    query[:, None, None],
    keys[:, :, None],
    x[:, :, None],
    normalizer=normalizer,
  )[:, 0, 0]
  expected = net.readout(read)
  np.testing.assert_allclose(net(x, CONTEXT), expected, rtol=1e-5, atol=1e-5)


def test_scored_by_content_any_length_and_any_order():
  net = content()
  (x,) = drawn.arrays((B, T, M))
  order = np.random.default_rng(0).permutation(T)
  out, aux = net(x, CONTEXT, aux="weights")
  moved, moved_aux = net(x[:, order], CONTEXT, aux="weights")
  np.testing.assert_allclose(moved, out, atol=1e-5)
  np.testing.assert_allclose(
    moved_aux.weights, np.asarray(aux.weights)[:, order], atol=1e-6
  )
  assert net(x[:, :2], CONTEXT).shape == (B, N)
  # Another context, other weights: the context decides where to look.
  other = net(x, (CONTEXT + 1) % C, aux="weights")[1]
  assert np.abs(np.asarray(other.weights - aux.weights)).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["none", "softmax", "sigmoid"])
def test_it_learns_where_to_look(name):
  """The notes' task, small: three contexts, four numbers, one of them asked."""
  places = jnp.array([2, 0, 3])
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.random((256, 4)), jnp.float32)
  context = jnp.asarray(rng.integers(0, 3, 256), jnp.int32)
  target = x[jnp.arange(256), places[context]]
  net = GlimpseNetwork(3, 4, 1, normalizer=name, stddev=0.02, rngs=nnx.Rngs(1))
  optimizer = optax.adam(0.03)

  def loss(net):
    return jnp.mean((net(x, context)[:, 0] - target) ** 2)

  def step(carry, _):
    net, state = carry
    with jax.numpy_dtype_promotion("standard"):
      updates, state = optimizer.update(jax.grad(loss)(net), state)
    return (optax.apply_updates(net, updates), state), None

  start = (net, optimizer.init(net))
  (net, _), _ = jax.jit(lambda start: jax.lax.scan(step, start, length=1500))(
    start
  )
  assert loss(net) < 1e-3
  effective = np.asarray(net.effective_weights()[..., 0])
  np.testing.assert_allclose(effective, np.eye(4)[places], atol=0.1)


@pytest.mark.usefixtures("as_a_user")
def test_bad_input_says_so():
  make = lambda **sizes: GlimpseNetwork(
    **({"contexts": C, "length": T, "outputs": N} | sizes), rngs=nnx.Rngs(0)
  )
  for size in ("contexts", "length", "outputs"):
    with pytest.raises(ValueError, match=f"{size} must be at least 1, got 0"):
      make(**{size: 0})
  with pytest.raises(ValueError, match=r"end in \[7\], got shape \[2, 6\]"):
    network()(jnp.ones((2, 6)), jnp.array([0, 1]))
  with pytest.raises(ValueError, match=r"'\*B T D' and end in \[7, 3\]"):
    network(width=D)(jnp.ones((2, T)), jnp.array([0, 1]))
  with pytest.raises(ValueError, match="key_width must be at least 1, got -1"):
    ContentGlimpse(C, M, N, key_width=-1, rngs=nnx.Rngs(0))
  with pytest.raises(ValueError, match="normalizer must be one of"):
    make(normalizer="relu")(jnp.ones((1, T)), jnp.array([0]))
