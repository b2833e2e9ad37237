"""`translate` and `generate`: which models they take, and which tokens."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models import (
  DecoderConfig,
  DecoderLM,
  Encoder,
  EncoderConfig,
  EncoderDecoder,
  EncoderDecoderConfig,
  Seq2Seq,
  Seq2SeqConfig,
  ViT,
  ViTConfig,
  generate,
  translate,
)
from tests.few import few

# Wrong arguments are refused by our checks and not by those of the tests.
pytestmark = pytest.mark.usefixtures("as_a_user")
V, W = 7, 11
OPTIONS = {"start": 0, "end": 1, "max_length": 3}
SOURCE, LENGTHS = np.array([[2, 6, 1], [4, 3, V + 5]]), np.array([3, 2])


@functools.cache
def transformer():
  config = EncoderDecoderConfig(8, 1, 1, heads=2, hidden=16, dropout=0.0)
  return EncoderDecoder(config, V, W, rngs=nnx.Rngs(0))


@functools.cache
def recurrent():
  return Seq2Seq(Seq2SeqConfig(6, 4, depth=1), V, W, rngs=nnx.Rngs(0))


@functools.cache
def decoder():
  config = DecoderConfig(width=8, depth=1, heads=2, hidden=16)
  return DecoderLM(config, V, rngs=nnx.Rngs(0))


@functools.cache
def encoder():
  config = EncoderConfig(width=8, depth=1, heads=2, hidden=16)
  return Encoder(config, V, rngs=nnx.Rngs(0))


@functools.cache
def vision():
  config = ViTConfig(width=8, depth=1, heads=2, hidden=16)
  return ViT(config, 3, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("make", few([transformer, recurrent], transformer))
def test_a_token_that_is_none_is_refused_or_has_no_answer(make):
  model = make()
  # One in the padding is none of the text.
  traced = jax.jit(lambda *of: translate(model, *of, beams=2, **OPTIONS))
  right = traced(SOURCE, LENGTHS)
  assert np.isfinite(right.scores).all()

  for bad in (V, V + 3, -1):
    source = SOURCE.copy()
    source[1, 1] = bad
    words = f"source holds {bad}, which is no token of the vocabulary of {V}"
    with pytest.raises(ValueError, match=words):
      translate(model, source, LENGTHS, **OPTIONS)
    with pytest.raises(ValueError, match=words):
      translate(model, source[:, :2], **OPTIONS)

    found = traced(source, LENGTHS)
    np.testing.assert_array_equal(found.tokens[0], right.tokens[0])
    assert (found.tokens[1] == -1).all()
    assert (found.lengths[1] == 0).all()
    assert np.isnan(found.scores[1]).all()
  # As a length that is none.
  found = traced(SOURCE, np.array([3, 4]))
  np.testing.assert_array_equal(found.tokens[0], right.tokens[0])
  assert (found.tokens[1] == -1).all()


@pytest.mark.parametrize("make", [transformer, recurrent, encoder, vision])
def test_a_model_that_continues_nothing_is_refused(make):
  prompt, key = jnp.array([[3, 1]]), jax.random.key(0)
  name = type(model := make()).__name__
  words = rf"model must be a DecoderLM or a MemoryLM, .*got {name}; .*transla"
  with pytest.raises(ValueError, match=words):
    generate(model, prompt, steps=2, key=key)
  with pytest.raises(ValueError, match=words.replace("model", "draft", 1)):
    generate(decoder(), prompt, steps=2, key=key, draft=model)


@pytest.mark.parametrize("make", [decoder, encoder, vision])
def test_a_model_that_reads_no_source_is_refused(make):
  name = type(model := make()).__name__
  words = rf"model must be a Seq2Seq or an .*got {name}; .*`generate`"
  with pytest.raises(ValueError, match=words):
    translate(model, SOURCE, **OPTIONS)


def test_a_source_is_a_batch():
  with pytest.raises(ValueError, match=r"axes B S, got \[3\]; .*source\[None"):
    translate(transformer(), SOURCE[0], **OPTIONS)
