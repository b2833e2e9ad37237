"""Laws of the numbers that say what heads do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import attnjax
from attnjax import masks, viz
from attnjax.models import DecoderConfig, DecoderLM


def draws(*shape, seed=0):
  weights = np.exp(np.random.default_rng(seed).normal(size=shape) * 3)
  return weights / weights.sum(-1, keepdims=True)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 13), st.integers(0, 2**16))
def test_entropy_is_between_0_and_that_of_equal_weights(keys, seed):
  found = viz.entropy(draws(3, keys, seed=seed))
  assert (found >= 0).all()
  assert (found <= np.log(keys) + 1e-6).all()
  np.testing.assert_allclose(
    viz.entropy(np.full((1, keys), 1 / keys)), np.log(keys)
  )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 7), st.integers(1, 5), st.floats(0, 1))
def test_rows_of_a_rollout_sum_to_1(length, depth, residual):
  weights = draws(depth, 3, length, length)
  weights[0, :, 0] = 0  # an empty row
  found = viz.rollout(weights, residual=residual).values
  assert found.shape == (depth, length, length)
  np.testing.assert_allclose(found.sum(-1), 1)
  assert (found >= 0).all()


def test_rollout_of_residuals_alone_stays_where_it_was():
  np.testing.assert_array_equal(
    viz.rollout(draws(2, 3, 5, 5), residual=1.0).values[-1], np.eye(5)
  )
  causal = np.tri(5) / np.tri(5).sum(-1, keepdims=True)
  assert not np.triu(viz.rollout([causal[None]] * 3).values[-1], 1).any()


@pytest.mark.parametrize(
  ("weights", "message"),
  [
    ([np.ones((1, 2, 3))], "H T T or B H T T"),
    ([], "one layer or more"),
    ([np.ones((1, 2, 2)), np.ones((1, 3, 3))], "layer 1 .* layers before"),
  ],
)
def test_what_no_rollout_is_of_is_named(weights, message):
  with pytest.raises(ValueError, match=message):
    viz.rollout(weights)


def test_axes_of_summaries_have_the_names_of_what_was_captured():
  x = jax.random.normal(jax.random.key(0), (3, 5, 2, 4))
  twice = lambda x: attnjax.attend(attnjax.attend(x, x, x), x, x)
  captured = viz.capture(twice, x)
  weights = captured.weights()
  rolled = viz.rollout(weights)
  assert rolled.axes == ("layer", "batch", "query", "key")
  assert rolled.shape == (2, 3, 5, 5)
  np.testing.assert_array_equal(
    rolled.at(batch=2), viz.rollout(weights.at(batch=2).values)
  )
  assert viz.rollout(captured.weights(layers=[1])).names("layer") == (1,)

  alike = viz.head_similarity(weights)
  assert alike.names("head") == ((0, 0), (0, 1), (1, 0), (1, 1))
  one = viz.head_similarity(weights.values[[0, 1], :, [1, 0]].reshape(2, 15, 5))
  assert alike.at(head=(0, 1), other=(1, 0)) == pytest.approx(one.values[0, 1])


def test_statistics_of_heads_that_are_known():
  """Logits of a bias make heads that look back, at themselves and first."""
  eye = np.eye(7)
  wanted = np.stack([np.eye(7, k=-1), eye, np.eye(7)[:, :1] @ np.ones((1, 7))])
  wanted[2] = np.eye(7)[0]
  bias = jnp.asarray(np.where(wanted > 0, 0.0, -jnp.inf))[None]
  x = jnp.zeros((1, 7, 3, 2))
  captured = viz.capture(lambda x: attnjax.attend(x, x, x, bias=bias), x)
  found = viz.head_statistics(captured)
  at = lambda head, name: found.at(layer=0, head=head, statistic=name)

  assert at(0, "previous") == 1  # the first query is empty and does not count
  assert at(0, "distance") == 1
  assert at(1, "own") == 1
  assert at(2, "first") == 1
  assert at(2, "distance") == 3
  assert at(1, "entropy") == at(2, "entropy") == 0
  lines = found.table(sort="own").splitlines()
  assert lines[0].split()[:3] == ["layer", "head", "entropy"]
  assert lines[1].split()[1] == "1"


def test_an_induction_head_scores_1():
  tokens = "abcabc"
  wanted = viz.induction_targets(tokens)
  assert [*zip(*wanted.nonzero(), strict=True)] == [(3, 1), (4, 2), (5, 3)]
  bias = jnp.asarray(np.where(wanted, 0.0, -jnp.inf))[None, None]
  x = jnp.zeros((1, 6, 1, 2))
  captured = viz.capture(lambda x: attnjax.attend(x, x, x, bias=bias), x)
  found = viz.head_statistics(captured, tokens=tokens)
  assert found.at(layer=0, head=0, statistic="induction") == 1
  with pytest.raises(ValueError, match="tokens must be as many"):
    viz.head_statistics(captured, tokens="abc")


def test_a_few_rows_at_a_time_give_the_same_numbers(monkeypatch):
  x = jax.random.normal(jax.random.key(0), (2, 7, 3, 4))
  causal = lambda x: attnjax.attend(x, x, x, mask=masks.causal())
  captured = viz.capture(causal, x)
  whole = viz.head_statistics(captured, queries=range(1, 7))
  monkeypatch.setattr("attnjax.viz.heads._ROWS", 1)
  few = viz.head_statistics(captured, queries=range(1, 7))
  np.testing.assert_allclose(few, whole)
  w = captured.weights(queries=range(1, 7)).values[0]
  np.testing.assert_allclose(
    whole.values[0, :, 0], viz.entropy(w).mean((0, 2)), rtol=1e-6
  )


def test_similarity_of_heads():
  w = draws(4, 5, 7)
  w[3] = w[0]
  found = viz.head_similarity(w).values
  np.testing.assert_allclose(found, found.T)
  np.testing.assert_allclose(found[0, 3], 1)
  assert ((found >= 0) & (found <= 1)).all()
  apart = np.stack([np.eye(4), np.eye(4)[::-1]])
  np.testing.assert_allclose(viz.head_similarity(apart).values[0, 1], 0)


def test_silencing_a_head_is_a_model_without_its_output():
  """The output projection of a head at 0 is the same as a gate of 0."""
  config = DecoderConfig(width=12, depth=2, heads=3, hidden=24)
  model = DecoderLM(config, 17, rngs=nnx.Rngs(0))
  tokens = jnp.arange(7)[None]
  loss = lambda model, tokens: jnp.square(model(tokens)).mean()
  found = viz.head_ablation(loss, model, tokens)
  assert found.axes == ("layer", "head")

  kernel = model.blocks.attention.output.kernel
  for layer, head in ((0, 2), (1, 0)):
    before = kernel[...]
    kernel[...] = before.at[layer, head].set(0)
    without = loss(model, tokens)
    kernel[...] = before
    np.testing.assert_allclose(
      found.values[layer, head],
      without - loss(model, tokens),
      atol=1e-6,
    )

  # A head that writes nothing is not missed at all.
  kernel[...] = kernel[...].at[1, 1].set(0)
  assert viz.head_ablation(loss, model, tokens, layers=[1]).values[0, 1] == 0


def test_attribution_adds_up_to_what_attention_wrote():
  x = jax.random.normal(jax.random.key(0), (5, 3, 4))
  write = jax.random.normal(jax.random.key(1), (3, 4))
  logit = lambda x: (attnjax.attend(x, x, x)[-1] * write).sum() + 2.0
  found = viz.head_attribution(logit, x)
  gone = viz.head_ablation(logit, x)
  np.testing.assert_allclose(found, -gone.values, atol=1e-5)
  np.testing.assert_allclose(found.values.sum(), logit(x) - 2, atol=1e-5)
  with pytest.raises(ValueError, match="one number"):
    viz.head_attribution(lambda x: attnjax.attend(x, x, x), x)
