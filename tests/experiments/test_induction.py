"""Scores of heads, silenced heads, and a run of the induction experiment."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models import DecoderConfig, DecoderLM, save
from experiments.induction import measure
from experiments.induction.config import InductionConfig
from tests import drawn

pytest.importorskip("safetensors")
V = 23
CONFIG = DecoderConfig(
  width=8, depth=2, heads=4, hidden=8, activation="swiglu", head_width=4
)


@pytest.fixture(scope="module")
def model():
  return drawn.module(lambda: DecoderLM(CONFIG, V, rngs=nnx.Rngs(0)))


def test_a_score_is_a_mean_of_weights(model):
  rows = measure.rows_of(InductionConfig(length=5, rows=2), V)
  np.testing.assert_array_equal(rows[:, :5], rows[:, 5:])
  found = measure.scores(model, rows)
  weights = np.asarray(
    jax.jit(lambda m, t: m(t, aux=("weights",))[1].weights)(
      model, jnp.asarray(rows)
    )
  )  # L B H T S
  # Token t of the second time, 5 + t, looks at t + 1 of the first.
  again = [weights[..., 5 + t, t + 1] for t in range(5)]
  before = [weights[..., t, t - 1] for t in range(1, 10)]
  for got, parts in ((found.induction, again), (found.previous, before)):
    np.testing.assert_allclose(got, np.mean(parts, (0, 2)), atol=1e-6)
  (top,) = found.best("previous", 1)
  assert found.previous[top] == found.previous.max()


def test_a_silenced_head_adds_nothing_and_the_others_what_they_did(model):
  block = jax.tree.map(lambda x: x[1], model.blocks).attention
  x = drawn.arrays((5, 8))[0]
  head = lambda quiet, h: jnp.abs(
    jax.tree.map(lambda a: a[1], quiet.blocks).attention.output.kernel[...][h]
  ).max()
  quiet = measure.silence(model, ((1, 2),))
  assert head(quiet, 2) == 0
  assert head(model, 2) > 0  # the model itself is as it was
  assert head(quiet, 1) == head(model, 1)
  changed = jax.tree.map(lambda a: a[1], quiet.blocks).attention(x)
  assert np.abs(np.asarray(changed - block(x))).max() > 1e-3
  everything = [(layer, h) for layer in range(2) for h in range(4)]
  mute = measure.silence(model, everything)
  np.testing.assert_array_equal(
    jax.tree.map(lambda a: a[0], mute.blocks).attention(x), np.zeros((5, 8))
  )


def test_controls_are_others_of_the_same_layers():
  heads = ((3, 0), (3, 1), (5, 2))
  for seed in range(5):
    found = measure.controls_of(heads, 4, np.random.default_rng(seed))
    assert sorted(layer for layer, _ in found) == [3, 3, 5]
    assert not {*found} & {*heads}
    assert len({*found}) == 3


@pytest.mark.slow
def test_a_run_writes_losses_and_scores(model, tmp_path, typed):
  save(tmp_path / "model", model)
  small = {"path": str(tmp_path / "model"), "length": 4, "rows": 1}
  small |= {"silenced": "2", "controls": 2}
  ended = typed("induction", tmp_path, small)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  assert [row["silenced"] for row in written["losses"]][1:] == [
    "2 induction heads",
    "2 previous-token heads",
    "2 others of those layers",
  ]
  assert np.shape(written["scores"]["induction"]) == (2, 4)
  assert (tmp_path / "scores.png").stat().st_size > 1000
