"""Two heads for two relations: the task, a silenced head, and a run."""

import json

import chex
import jax
import numpy as np
import pytest

from experiments.heads import report, task
from experiments.heads.config import HeadsConfig

SMALL = {
  "batch_size": 4,
  "heldout": 8,
  "seeds": 1,
  "train.steps": 3,
  "train.evaluate_every": 0,
  "optimizer.warmup_steps": 1,
}


def test_the_answers_are_the_values_of_the_things_asked_for():
  batch = task.Batches(HeadsConfig(), seed=1)(2)
  for row in range(8):
    for n, _ in enumerate(task.RELATIONS):
      things = batch["things"][row, :, n].tolist()
      assert sorted(things) == list(range(8))
      place = things.index(batch["asked"][row, n])
      assert batch["at"][row, n] == place
      assert batch["answers"][row, n] == batch["values"][row, place]


@pytest.mark.slow
def test_a_silenced_head_adds_nothing_and_the_model_is_left_as_it_was():
  config = HeadsConfig(batch_size=4, heldout=8)
  model = task.make(config, task.SHAPES["two heads"], seed=0)
  before = jax.tree.map(np.asarray, model)
  batch = jax.device_put(task.Batches(config, 0)(0))
  both = task.without_head(task.without_head(model, 0), 1)
  chex.assert_trees_all_close(
    both(batch).reshape(4, -1),
    np.broadcast_to(model.readout.bias[...], (4, 2 * config.values)),
  )
  one = task.without_head(model, 1)(batch)
  assert np.abs(one - model(batch)).max() > 1e-4
  chex.assert_trees_all_equal(before, jax.tree.map(np.asarray, model))


def test_heads_are_told_by_what_they_look_at():
  config = HeadsConfig(batch_size=4, heldout=8)
  model = task.make(config, task.SHAPES["two heads"], seed=0)
  found = report.heads_of(model, [task.Batches(config, 0)(n) for n in (0, 1)])
  assert len(found) == 2
  assert found[0]["weight on place"] >= found[1]["weight on place"]


@pytest.mark.slow
def test_a_run_writes_its_numbers_and_figure(tmp_path, typed):
  ended = typed("heads", tmp_path, SMALL)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  assert set(written["accuracy"]) == set(task.SHAPES)
  assert (tmp_path / "heads.png").stat().st_size > 1000
  assert "one head, as wide as both" in ended.out


def test_bad_settings_are_named():
  with pytest.raises(ValueError, match="heldout"):
    HeadsConfig(batch_size=3, heldout=8)
  with pytest.raises(ValueError, match="items"):
    HeadsConfig(items=0)
