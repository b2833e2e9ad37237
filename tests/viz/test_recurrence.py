"""Recurrences that attend at every step, and sentences of one length."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax import masks, runs, viz
from attnjax.models import (
  EncoderDecoder,
  EncoderDecoderConfig,
  Seq2Seq,
  Seq2SeqConfig,
)

MEMORY = jax.random.normal(jax.random.key(1), (1, 5, 1, 4))
MAPS = jax.random.normal(jax.random.key(0), (2, 4, 4))
INPUTS = jax.random.normal(jax.random.key(2), (7, 1, 4))


def sides(made):
  """The sentences of queries and keys of each layer of a page."""
  data = json.loads(made.html.split('id="data">')[1].split("</script>")[0])
  (model,) = data["models"]
  return [
    (x["querySentence"], x["keySentence"]) for x in model["layers"]
  ], data["notes"]


def stacked_recurrence(inputs, memory):
  """Two layers, scanned, at each step of a scan over time."""

  def layer(x, layer):
    w, state = layer
    seen = attnjax.attend((x @ w)[:, None, None], memory @ w, memory)[:, 0, 0]
    state = jnp.tanh(state + seen + x)
    return state, state

  step = lambda states, x: jax.lax.scan(layer, x, (MAPS, states))[::-1]
  return jax.lax.scan(step, jnp.zeros((2, 1, 4)), inputs)[1]


@pytest.mark.slow
def test_steps_of_a_recurrence_are_the_queries_of_one_call():
  captured = viz.capture(stacked_recurrence, INPUTS, MEMORY)
  assert len(captured) == 14
  one_by_one = np.stack([np.asarray(x.weights())[0, 0, 0] for x in captured])
  found = viz.joined(captured, 7)
  assert [x.lengths for x in found] == [(7, 5), (7, 5)]
  for layer, call in enumerate(found):
    np.testing.assert_allclose(
      call.weights()[0, 0], one_by_one[layer::2], atol=1e-6
    )
    assert call.weights(queries=[-1, 2]).shape == (1, 1, 2, 5)
  # The scan within: the layers of one step.
  assert [x.lengths for x in viz.joined(captured)] == [(2, 5)] * 7
  assert sides(viz.page(captured, "abcdefg", "vwxyz"))[0] == [(0, 1)] * 2


@pytest.mark.slow
def test_layers_over_one_token_stay_layers_on_a_page_of_one_token():
  step = lambda x, w: (x + attnjax.attend(x, x * w, x), None)
  model = lambda x: jax.lax.scan(step, x, jnp.arange(3.0))[0]
  captured = viz.capture(model, jnp.ones((1, 1, 2)))
  assert len(sides(viz.page(captured, ["one"]))[0]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("length", [5, 7])
def test_a_model_that_revisits_its_source_has_a_page(length):
  model = Seq2Seq(Seq2SeqConfig(width=8, hidden=8), 11, 13, rngs=nnx.Rngs(0))
  source, inputs = jnp.arange(10).reshape(2, 5), jnp.ones((2, length), int)
  captured = viz.capture(model, source, inputs)
  (call,) = viz.joined(captured)
  _, aux = model(source, inputs, aux=("weights",))
  np.testing.assert_allclose(
    call.weights(), aux.weights.reshape(2, 1, length, 5), atol=1e-6
  )
  assert call.batch == 2
  made = viz.page(captured, ["w"] * length, "abcde", batch=1)
  assert sides(made) == ([(0, 1)], [])
  seen = runs.AttentionWatch(source, inputs)(model)
  assert [*seen.scalars] == ["entropy/layer0/head0"]


@pytest.mark.slow
@pytest.mark.parametrize("length", [5, 7])
def test_each_layer_of_a_translator_is_over_its_own_sentences(length):
  config = EncoderDecoderConfig(width=8, heads=2, hidden=16)
  model = EncoderDecoder(config, 11, 13, rngs=nnx.Rngs(0))
  source, target = jnp.arange(5), jnp.arange(length)
  found, notes = sides(
    viz.page(viz.capture(model, source, target), ["t"] * length, "abcde")
  )
  half = len(found) // 3
  assert found == [(1, 1)] * half + [(0, 0), (0, 1)] * half
  assert notes == []


def test_inputs_of_queries_and_keys_are_known():
  model = lambda x, y, w: attnjax.attend(attnjax.attend(x * w[0], x, x), y, y)
  x, y = jnp.ones((2, 3, 1, 2))
  first, second = viz.capture(jax.jit(model), x, y, [jnp.ones(())]).reads()
  assert first == ({0}, {0})
  assert second == ({0}, {1})
  # Given twice, it is one input.
  assert viz.capture(attnjax.attend, x, x, x).reads() == [({0}, {0})]


@pytest.mark.slow
def test_of_sentences_of_one_length_the_inputs_tell_them_apart():
  def model(source, target):
    source = attnjax.attend(source, source, source)
    target = attnjax.attend(target, target, target, mask=masks.causal())
    return attnjax.attend(target, source, source)

  source, target = jax.random.normal(jax.random.key(0), (2, 4, 1, 2))
  page = lambda model, *arrays: sides(
    viz.page(viz.capture(model, *arrays), "abcd", "wxyz")
  )
  apart = [(1, 1), (0, 0), (0, 1)]
  assert page(model, source, target) == (apart, [])
  assert page(jax.jit(model), source, target) == (apart, [])
  # Closed over, no input tells them apart, and the page says so.
  found, notes = page(lambda: model(source, target))
  assert found == [(0, 1)] * 3
  assert "Both sentences have 4 tokens" in notes[0]
  assert page(attnjax.attend, source, source, source)[0] == [(0, 0)]
  plain = viz.page(np.full((1, 4, 4), 0.25), "abcd", "wxyz")
  assert sides(plain) == ([(0, 1)], [])


def test_what_is_no_array_among_the_results_is_refused():
  model = lambda x: (attnjax.attend(x, x, x), "text")
  with pytest.raises(ValueError, match=r"must return arrays.*str 'text'"):
    viz.capture(model, jnp.ones((3, 1, 2)))


def test_no_query_has_no_statistics():
  x = jnp.ones((3, 1, 2))
  captured = viz.capture(attnjax.attend, x[:0], x, x)
  assert np.isnan(viz.head_statistics(captured).values).all()
