"""Why attention is scaled: the measures, the task, and a run."""

import json
import math

import jax
import numpy as np
import pytest

from experiments.why_scale import lookup
from experiments.why_scale.config import LookupConfig, WhyScaleConfig
from experiments.why_scale.measure import SCORINGS, measure

SMALL = {
  "widths": (4, 64),
  "queries": 128,
  "seeds": 1,
  "lookup.widths": (4,),
  "lookup.batch_size": 4,
  "train.steps": 3,
  "train.evaluate_every": 0,
  "optimizer.warmup_steps": 1,
}


def _measured(name, width):
  key = jax.random.key(0)
  return measure(key, SCORINGS[name], width=width, keys=64, queries=256)


@pytest.mark.parametrize(
  "width", [4, 64, pytest.param(1024, marks=pytest.mark.slow)]
)
def test_the_variance_of_a_dot_product_is_its_width(width):
  assert float(_measured("unscaled", width).variance) == pytest.approx(
    width, rel=0.1
  )
  assert float(_measured("scaled", width).variance) == pytest.approx(1, rel=0.1)


@pytest.mark.slow
def test_unscaled_weights_saturate_and_their_gradient_vanishes():
  narrow, wide = _measured("unscaled", 16), _measured("unscaled", 4096)
  assert float(wide.largest) > 0.95 > float(narrow.largest)
  assert float(wide.gradient) < 0.25 * float(narrow.gradient)
  for width in (16, 4096):
    scaled = _measured("scaled", width)
    assert float(scaled.entropy) > 0.85 * math.log(64)
    assert float(scaled.gradient) > 0.15


def test_the_gradient_norm_is_that_of_a_softmax():
  """Of two equal logits, d w / d logit = 1/4 [[1, -1], [-1, 1]]: norm 1/2."""
  from experiments.why_scale.measure import _gradient_norm

  assert float(_gradient_norm(np.zeros((1, 2), np.float32))[0]) == 0.5


def test_the_target_is_the_value_beside_the_asked_key():
  batch = lookup.Batches(LookupConfig(batch_size=32), seed=3)(5)
  again = lookup.Batches(LookupConfig(batch_size=32), seed=3)(5)
  for row in range(32):
    keys = batch["keys"][row].tolist()
    assert len(set(keys)) == len(keys)
    place = keys.index(batch["asked"][row])
    assert batch["values"][row, place] == batch["target"][row]
  for name, x in batch.items():
    np.testing.assert_array_equal(x, again[name])


@pytest.mark.slow
def test_a_run_writes_its_numbers_and_figures(tmp_path, typed):
  ended = typed("why_scale", tmp_path, SMALL)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  assert set(written["accuracy"]) == {"unscaled", "scaled"}
  for name in ("entropy.png", "gradient.png", "accuracy.png"):
    assert (tmp_path / name).stat().st_size > 1000
  assert "steps to 0.9, scaled" in ended.out


def test_bad_settings_are_named():
  with pytest.raises(ValueError, match="widths"):
    WhyScaleConfig(widths=(0,))
  with pytest.raises(ValueError, match=r"lookup\.items"):
    LookupConfig(items=65, symbols=64)
