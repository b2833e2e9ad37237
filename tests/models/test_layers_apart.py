"""A decoder whose layers are in arrays of their own is the same decoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.models import generate
from tests.models.small import decoder, forward

TOKENS = jnp.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]], jnp.int32)


def test_layers_apart_say_what_stacked_ones_say():
  model = decoder(window=2, layers=("window", "full", "full"))
  apart = model.with_layers_apart()
  assert apart.apart
  assert not model.apart
  np.testing.assert_allclose(
    forward(apart, TOKENS), forward(model, TOKENS), atol=1e-6
  )
  with pytest.raises(ValueError, match="layers must be stacked"):
    apart.with_layers_apart()


@pytest.mark.slow
def test_layers_apart_write_and_show_what_stacked_ones_do():
  model = decoder(window=2, layers=("window", "full", "full"))
  apart = model.with_layers_apart()
  whole = jax.jit(lambda model: model(TOKENS, aux=("max_logit",))[1].max_logit)
  assert whole(apart).shape[0] == 3
  np.testing.assert_allclose(whole(apart), whole(model), atol=1e-6)

  kw = {"steps": 4, "key": jax.random.key(0), "temperature": 0.0}
  expected = generate(model, TOKENS, **kw)
  np.testing.assert_array_equal(generate(apart, TOKENS, **kw), expected)
