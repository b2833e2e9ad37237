"""A window bounds how far back a decoder looks: depth times the window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.models import generate
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


@pytest.mark.slow
def test_decoding_honours_it():
  model = decoder(window=2)
  prompt = TOKENS[None, :5]
  written = generate(
    model, prompt, steps=4, key=jax.random.key(0), temperature=0.0
  )
  text = prompt
  for _ in range(4):
    best = forward(model, text)[:, -1:].argmax(-1)
    text = jnp.concatenate([text, best], axis=1)
  np.testing.assert_array_equal(written, text[:, 5:])
