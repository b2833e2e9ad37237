"""A window bounds how far back a decoder looks: depth times the window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.models import generate
from attnjax.models.layer_caches import rewind_layers
from tests.models.small import V, decoder, forward

TOKENS = jnp.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])


@pytest.mark.parametrize(("window", "depth"), [(0, 3), (1, 2), (2, 3)])
def test_it_sees_depth_times_the_window_and_no_more(window, depth):
  model = decoder(window=window, depth=depth)
  plain = forward(model, TOKENS)
  reach = window * depth
  for changed in range(len(TOKENS)):
    other = TOKENS.at[changed].set((TOKENS[changed] + 1) % V)
    moved = np.asarray((forward(model, other) != plain).any(-1))
    seen = np.flatnonzero(moved)
    last = min(changed + reach, len(TOKENS) - 1)
    assert seen.min() == changed
    assert seen.max() == last


STEP = jax.jit(lambda model, *args, **kw: model.decode(*args, **kw))
LAYERS = {
  "mixed": ("window", "window_unrotated", "full"),
  "all": ("window",),
  "runs": ("full", "full", "window"),
}


def rolling(name, **kw):
  """A decoder of five layers, and an empty cache of it that rolls."""
  model = decoder(window=3, depth=5, layers=LAYERS[name])
  return model, model.init_cache((2,), 11, **({"rolling": 2} | kw))


def in_chunks(model, cache, chunks):
  """Logits of two rows read in chunks, of which the second is shorter."""
  tokens, start, found = jnp.stack([TOKENS, TOKENS[::-1]]), 0, []
  for size in chunks:
    # The second row has one token less, and its padding is no token.
    chunk = tokens[:, start : start + size].at[1, -1].set(-1)
    lengths = jnp.array([size, size - 1])
    logits, cache = STEP(model, chunk, cache, lengths=lengths)
    found.append(np.asarray(logits[0]))
    start += size
  return np.concatenate(found), cache


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_windowed_layers_keep_no_more_than_they_see(name):
  model, cache = rolling(name)
  kinds = model.config.kinds
  windowed = sum(kind.startswith("window") for kind in kinds)
  assert cache.window.key.shape == (windowed, 2, 6, 2, 6)
  assert (cache.full is None) == (windowed == len(kinds))
  for chunks in ((9, 1, 1), (2, 7, 2)):
    got, state = in_chunks(model, cache, chunks)
    expected = forward(model, TOKENS)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    # The second row, of other tokens, has read one fewer in every chunk.
    assert state.length[0].tolist() == [11, 11 - len(chunks)]
    for a, b in zip(*map(jax.tree.leaves, (state, cache)), strict=True):
      assert a.shape == b.shape
  with pytest.raises(ValueError, match="12 positions do not fit the capacity"):
    model.decode(TOKENS[None, :1].repeat(2, 0), state)


@pytest.mark.slow
def test_a_rolling_cache_is_wound_back_as_far_as_it_says():
  model, cache = rolling("mixed")
  text = jnp.stack([TOKENS, TOKENS])
  _, cache = STEP(model, text[:, :8], cache)
  for wrong in (1, 2):
    drafts = (text[:, 8 - wrong : 8] + 1) % V
    # What is taken back was read one by one, each over the oldest.
    state = rewind_layers(cache, jnp.array([8 - wrong] * 2))
    for token in drafts.T:
      _, state = STEP(model, token[:, None], state)
    state = rewind_layers(state, np.array([8 - wrong] * 2, np.int32))
    logits, _ = STEP(model, text[:, 8 - wrong :], state)
    expected = forward(model, TOKENS)[8 - wrong :]
    np.testing.assert_allclose(logits[0], expected, rtol=1e-4, atol=1e-5)
  far = rewind_layers(cache, jnp.array([8, 4]))
  with pytest.raises(ValueError, match="which the cache has forgotten"):
    model.decode(text[:, :1], far)
  logits, _ = jax.jit(lambda m, c: m.decode(text[:, 8:9], c))(model, far)
  assert np.isfinite(logits[0]).all()
  assert np.isnan(logits[1]).all()
  with pytest.raises(ValueError, match="rolling must be >= 0, got -1"):
    rolling("all", rolling=-1)


@pytest.mark.slow
def test_generate_writes_with_a_cache_of_the_window():
  model = decoder(window=3, depth=5, layers=LAYERS["mixed"])
  lengths = jnp.array([5, 3])
  prompt = jnp.stack([TOKENS[:5], TOKENS[5:10]]).at[1, 3:].set(-1)
  kw = {"steps": 6, "key": jax.random.key(0), "temperature": 0.0}
  together = generate(model, prompt, lengths=lengths, **kw)
  for row in range(2):
    start = lengths[row].item()
    text = np.zeros(11, np.int32)
    text[:start] = prompt[row, :start]
    for place in range(start, start + 6):
      text[place] = forward(model, text)[place - 1].argmax()
    np.testing.assert_array_equal(together[row], text[start : start + 6])
