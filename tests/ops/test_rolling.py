"""A cache that rolls, or is wound back, answers as without it, or says no."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax import cache, masks, positions
from attnjax.models import DecoderConfig, DecoderLM
from attnjax.nn import MultiHeadAttention
from attnjax.nn.window_attention import WindowAttention
from attnjax.ops.heads import MultiHeadParams, Projection
from attnjax.ops.multi_head import decode_attention
from tests.drawn import arrays
from tests.few import few

B, M, H, K, D, E, LENGTH = 2, 6, 4, 2, 4, 5, 13


@pytest.fixture(scope="module")
def layer():
  """Grouped heads, rotary, values of another width: and a text to read."""
  drawn = arrays((M, H, D), (M, K, D), (M, K, E), (H, E, M), (B, LENGTH, M))
  *kernels, x = map(jnp.asarray, drawn)
  return MultiHeadParams(*map(Projection, kernels)), x


def whole(layer, mask):
  """What is to be said, without a cache."""
  params, x = layer
  encode = positions.Rotary()
  call = jax.jit(attnjax.multi_head_attention, static_argnames=_STATIC)
  return np.asarray(call(params, x, mask=mask, position_encoding=encode))


_STATIC = ("aux", "position_encoding", "store")
DECODE = jax.jit(decode_attention, static_argnames=_STATIC)


def empty(capacity):
  return cache.init((B,), capacity, K, D, value_width=E)


def read(layer, chunks, capacity, *, decode=DECODE, store=cache.roll, **kw):
  """The text, so many tokens at once; what is said, and the cache."""
  params, x = layer
  state, outs, start = empty(capacity), [], 0
  kw |= {"store": store, "position_encoding": positions.Rotary()}
  for size in chunks:
    out, state = decode(params, x[:, start : start + size], state, **kw)
    outs.append(np.asarray(out))
    start += size
  return np.concatenate(outs, axis=1), state


@pytest.mark.parametrize("capacity", [6, 7])
def test_chunks_that_roll_say_what_a_window_says(layer, capacity):
  # 6 slots for 5 before a query and itself: 4 at once push out what the first
  # of them sees, where they are stored before they are read.
  mask, chunks = masks.sliding_window(5), (4, 4, 1, 4)
  got, _ = read(layer, chunks, capacity, mask=mask)
  np.testing.assert_allclose(got, whole(layer, mask), atol=1e-5)


@pytest.mark.parametrize(
  "chunks", few([(4, 4, 4, 1), (1, 2, 5, 5)], (4, 4, 4, 1))
)
def test_a_cache_that_rolls_is_by_default_a_window_of_its_slots(layer, chunks):
  got, _ = read(layer, chunks, 5)
  expected = whole(layer, masks.sliding_window(4))
  np.testing.assert_allclose(got, expected, atol=1e-5)


FAR = {
  "window": masks.sliding_window(6),
  "causal": masks.causal(),
  "first": masks.sliding_window(3) | masks.prefix(1),
  "strided": masks.dilated(2) & masks.causal(),
}


@pytest.mark.parametrize("name", few(FAR, "causal", "first"))
def test_a_mask_that_looks_further_than_the_cache_goes(layer, name):
  params, x = layer
  mask, chunks = FAR[name], (4, 4, 1, 1, 1, 1)
  seen = np.asarray(jax.jit(lambda: mask.dense(12, 12))()[0])
  far = [q for q in range(12) if seen[q, : max(0, q - 5)].any()]
  assert {6, 8} <= set(far)
  got, _ = read(layer, chunks, 6, mask=mask)
  wrong = np.isnan(got).any(-1)
  assert [np.flatnonzero(row).tolist() for row in wrong] == [far] * B
  right = whole(layer, mask)[:, :12]
  np.testing.assert_allclose(got[~wrong], right[~wrong], atol=1e-5)
  _, state = read(layer, (4, 4), 6)
  call = lambda x: decode_attention(
    params, x, state, mask=mask, store=cache.roll
  )
  # A cache that is captured is known while a program is traced, too.
  for decode in (call, jax.jit(call)):
    with pytest.raises(ValueError, match="position 8 see positions before 3"):
      decode(x[:, 8:9])


def test_only_the_row_that_has_forgotten_is_refused(layer):
  params, x = layer
  lengths = jnp.array([2, 6])
  _, state = DECODE(params, x[:, :6], empty(6), lengths=lengths)
  kw = {"store": cache.roll, "mask": masks.causal()}
  out, _ = DECODE(params, x[:, 6:7], state, **kw)
  assert np.isnan(out[1]).all()
  assert np.isfinite(out[0]).all()
  # A padded token is no query: what it would see is not asked.
  none = jnp.array([1, 0])
  out, _ = DECODE(params, x[:, 6:7], state, lengths=none, **kw)
  assert np.isfinite(out).all()


def test_a_function_does_not_say_how_far_it_looks(layer):
  near = masks.from_fn(lambda b, h, q, k: (k <= q) & (q - k < 5))
  with pytest.raises(ValueError, match=r"must say how far .*sliding_window\(5"):
    read(layer, (4, 4, 4, 1), 6, mask=near)
  bounded = near & masks.sliding_window(5)
  got, _ = read(layer, (4, 4, 4, 1), 6, mask=bounded)
  np.testing.assert_allclose(got, whole(layer, near), atol=1e-5)


def test_weights_of_tokens_that_roll_in_at_once(layer):
  params, x = layer
  _, state = DECODE(params, x[:, :5], empty(5), store=cache.roll)
  _, _, aux = DECODE(
    params, x[:, 5:8], state, store=cache.roll, aux=("weights",)
  )
  weights = np.asarray(aux.weights)  # the slots, and then the new tokens
  assert weights.shape == (B, H, 3, 5 + 3)
  seen = (weights > 0).any((0, 1))
  assert seen.tolist() == [
    [False, True, True, True, True, True, False, False],
    [False, False, True, True, True, True, True, False],
    [False, False, False, True, True, True, True, True],
  ]


def guess(layer, state, **kw):
  """Three tokens that turn out wrong, read after those of a state."""
  params, x = layer
  return DECODE(params, x[:, :3] * 2, state, **kw)[1]


REWINDS = {
  "rewind": cache.rewind,
  # What one would do who does not know `rewind`.
  "replace": lambda state, n: dataclasses.replace(
    state, length=jnp.full_like(state.length, n)
  ),
}


@pytest.mark.parametrize("how", REWINDS)
@pytest.mark.parametrize(
  ("store", "capacity", "left"), [(cache.append, 12, 11), (cache.roll, 8, 4)]
)
def test_a_cache_wound_back_has_not_read_the_guesses(
  layer, how, store, capacity, left
):
  params, x = layer
  mask = masks.sliding_window(left)
  kw = {"store": store, "mask": mask, "position_encoding": positions.Rotary()}
  _, state = read(layer, (5, 4), capacity, store=store, mask=mask)
  state = REWINDS[how](guess(layer, state, **kw), 9)
  outs = []
  for t in (9, 10, 11):
    out, state = DECODE(params, x[:, t : t + 1], state, **kw)
    outs.append(out)
  expected = whole(layer, mask)[:, 9:12]
  np.testing.assert_allclose(np.concatenate(outs, 1), expected, atol=1e-5)


@pytest.mark.parametrize("how", REWINDS)
def test_what_the_guesses_rolled_over_does_not_come_back(layer, how):
  params, x = layer
  mask = masks.sliding_window(4)
  kw = {"store": cache.roll, "mask": mask}
  kw["position_encoding"] = positions.Rotary()
  _, state = read(layer, (5, 4), 5, mask=mask)
  state = REWINDS[how](guess(layer, state, **kw), 9)
  words = r"query at position 9 see positions before 7, .*sliding_window\(2\)"
  with pytest.raises(ValueError, match=words):
    decode_attention(params, x[:, 9:10], state, **kw)
  outs = []
  for t in (9, 10, 11):
    out, state = DECODE(params, x[:, t : t + 1], state, **kw)
    outs.append(np.asarray(out)[:, 0])
  # 9 and 10 look at 5 and 6, which are gone; 11 looks at 7 and later.
  assert np.isnan(outs[:2]).all()
  np.testing.assert_allclose(outs[2], whole(layer, mask)[:, 11], atol=1e-5)


def another_roll(*of, **kw):
  """As `cache.roll`, but no one knows."""
  return cache.roll(*of, **kw)


def test_an_unknown_store_is_asked_what_it_has_forgotten(layer):
  mask = masks.sliding_window(5)
  kw = {"store": another_roll, "mask": mask}
  got, _ = read(layer, (4, 4, 4), 9, **kw)
  right = whole(layer, mask)[:, :12]
  np.testing.assert_allclose(got, right, atol=1e-5)
  got, _ = read(layer, (4, 4, 4), 6, **kw)
  wrong = np.isnan(got).any(-1)
  # Of the four at 4, two tokens are gone: the first two look at one of them.
  assert np.flatnonzero(wrong[0]).tolist() == [4, 5, 6, 8, 9, 10]
  np.testing.assert_allclose(got[~wrong], right[~wrong], atol=1e-5)


@pytest.mark.usefixtures("as_a_user")
def test_a_length_to_rewind_to_that_there_is_not():
  key = jnp.ones((2, 3, 1, 1))
  state = cache.append(cache.init((2,), 4, 1, 1), key, key, lengths=[1, 3])
  for length, words in (
    ([0, 4], r"within 0 and the tokens .* got \[0, 4\] of \[1, 3\]"),
    ([-1, 2], r"within 0 and the tokens .* got \[-1, 2\]"),
    (2, r"got \[2, 2\] of \[1, 3\]"),
    ([1], r"length must have shape \[2\], one a row, .* got \[1\]"),
    (1.0, "length must be integers, got float"),
  ):
    with pytest.raises(ValueError, match=words):
      cache.rewind(state, length)
  rewind = jax.jit(cache.rewind)
  back = rewind(state, jnp.array([2, 2]))
  assert np.isnan(back.key[0]).all()
  assert np.isfinite(back.key[1]).all()
  assert rewind(state, 1).length.tolist() == [1, 1]
  assert rewind(state, jnp.array([0, 2])).positions.tolist() == [
    [-4, -3, -2, -1],
    [0, 1, -2, -1],
  ]


def test_a_decoder_that_is_wound_back_goes_on_as_if_nothing_was():
  sizes = DecoderConfig(width=8, depth=2, heads=2, hidden=8, window=4)
  model = jax.jit(lambda: DecoderLM(sizes, 11, rngs=nnx.Rngs(0)))()
  decode = jax.jit(type(model).decode)
  tokens = jnp.array([[3, 1, 4, 1, 5, 9]])
  _, state = decode(model, tokens[:, :3], model.init_cache((1,), 9))
  _, wrong = decode(model, tokens[:, :3] + 1, state)
  back = jax.vmap(cache.rewind, (0, None))(wrong, 3)
  logits = [decode(model, tokens[:, 3:], x)[0] for x in (state, back)]
  np.testing.assert_array_equal(*logits)
  assert np.isfinite(logits[0]).all()
  lost = dataclasses.replace(state, forgotten=state.forgotten + 2)
  with pytest.raises(ValueError, match="position 3 see positions before 2"):
    model.decode(tokens[:, 3:], lost)
  assert np.isnan(decode(model, tokens[:, 3:], lost)[0]).all()


@pytest.mark.usefixtures("as_a_user")
def test_a_window_layer_decodes_over_a_cache_that_holds_its_window():
  make = lambda window: jax.jit(
    lambda: WindowAttention(6, 2, window=window, rngs=nnx.Rngs(0))
  )()
  small, large = make(1), make(3)
  x = arrays((1, 5, 6))[0]
  decode = jax.jit(WindowAttention.decode)
  state = small.init_cache((1,), 9)
  for t in range(3):
    _, state = decode(large, x[:, t : t + 1], state)
  with pytest.raises(ValueError, match="query at position 3 see positions"):
    large.decode(x[:, 3:4], state)
  out, _ = decode(large, x, large.init_cache((1,), 9))
  np.testing.assert_allclose(out, large(x), atol=1e-5)


@pytest.mark.parametrize("jitted", [False, True])
def test_the_module_decodes_in_chunks_as_it_reads_at_once(jitted):
  module = jax.jit(
    lambda: MultiHeadAttention(8, 4, kv_heads=2, rngs=nnx.Rngs(0))
  )()
  x, mask = arrays((1, 12, 8))[0], masks.sliding_window(5)
  step = lambda x, s: module.decode(x, s, mask=mask, store=cache.roll)
  step = jax.jit(step) if jitted else step
  state, outs = cache.init((1,), 6, 2, 2), []
  for start in (0, 4, 8):
    out, state = step(x[:, start : start + 4], state)
    outs.append(out)
  got = np.concatenate(outs, axis=1)
  np.testing.assert_allclose(got, module(x, mask=mask), atol=1e-5)
