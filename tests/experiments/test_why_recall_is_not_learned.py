"""Starts of two halves: what they change, censored medians, and a run."""

import dataclasses
import json
import math

import numpy as np
import pytest

from attnjax.config import replace_leaves
from attnjax.models.leaf_paths import leaves_by_path
from experiments.recall_task import vocabulary
from experiments.why_recall_is_not_learned import report
from experiments.why_recall_is_not_learned.config import (
  HALVES,
  KINDS,
  PRESETS,
  StartsConfig,
)
from experiments.why_recall_is_not_learned.starts import halved

SMALL = {
  "kinds": ("delta net",),
  "halves": ("both", "neither"),
  "seeds": 2,
  "steps": 4,
  "every": 2,
  "model.width": 8,
  "model.hidden": 8,
  "task.length": 29,
  "task.questions": 3,
  "task.batch_size": 2,
  "optimizer.warmup_steps": 1,
}
QUERIES = {"memory": ("blocks.mixer.memory.project.kernel",)}
TAPS = {"memory": ("blocks.mixer.memory.kernel",)}
QUERIES["mag"] = (
  *QUERIES["memory"],
  "blocks.mixer.attention.attention.query.kernel",
)
TAPS["mag"] = (*TAPS["memory"], "blocks.mixer.attention.kernel")


@pytest.mark.parametrize("kind", ["delta net", "MAG"])
def test_each_half_changes_its_leaves_alone(kind):
  config = StartsConfig()
  model = dataclasses.replace(config.model, **KINDS[kind])
  made = {
    name: leaves_by_path(
      halved(model, vocabulary(config.task), 0, query=query, key=key)
    )
    for name, (query, key) in HALVES.items()
  }
  plain = made["neither"]
  changed = lambda name: {
    path for path, leaf in made[name].items() if (leaf != plain[path]).any()
  }
  of = model.architecture
  assert changed("queries as keys") == {*QUERIES[of]}
  assert changed("shifted keys") == {*TAPS[of]}
  assert changed("both") == {*QUERIES[of], *TAPS[of]}


def test_a_median_of_censored_steps():
  assert report.median([300, None, 100, 200, None]) == 300
  assert report.median([300, None, 100, None, None]) is None
  assert report.median([100, 200]) == 150
  assert report.median([100, None]) is None


def test_the_plateau_is_that_of_saying_any_value_told():
  config = replace_leaves(PRESETS["tiny"](), {"task.fewest": 3, "task.most": 5})
  expected = (math.log(3) + math.log(4) + math.log(5)) / 3
  assert report.plateau(config) == pytest.approx(expected, rel=1e-12)


def found(steps, end=0.5):
  return {
    "steps": {"0.5": steps, "0.9": steps},
    "loss": [[1.0]] * len(steps),
    "accuracy": [[end]] * len(steps),
  }


def test_the_best_rate_is_told_and_one_at_the_edge_is_starred():
  config = PRESETS["rates"]()
  cell = lambda rate: ("delta net", "both", rate)
  results = {
    cell(3e-3): found([900, 800, 700]),
    cell(1e-2): found([200, None, 300]),
    cell(3e-2): found([None, None, 100]),
  }
  assert report.best(config, results, "delta net", "both") == 1e-2
  assert "| 0.01 |" in report.tables(config, results)
  results[cell(1e-2)] = found([None, None, None], end=0.4)
  results[cell(3e-3)] = found([None, None, None], end=0.3)
  assert report.best(config, results, "delta net", "both") == 3e-2
  said = report.tables(config, results)
  assert "0.03*" in said
  assert "> 1500" in said
  assert "1 of 3" in said


@pytest.mark.slow
def test_a_run_is_resumed_by_its_cells(tmp_path, typed):
  ended = typed("why_recall_is_not_learned", tmp_path, SMALL)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  assert len(written) == 2
  for cell in written.values():
    assert np.shape(cell["loss"]) == (2, 2)  # seeds, looks
    assert cell["steps"]["0.9"] == [None, None]
  cells = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cells/*")}
  assert len(cells) == 2
  again = typed("why_recall_is_not_learned", tmp_path, SMALL)
  assert again.code == 0, again.err
  assert cells == {path: path.stat().st_mtime_ns for path in cells}
  assert (tmp_path / "delta_net.png").stat().st_size > 1000


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"every": 7}, "every must divide steps=3000, got 7"),
    ({"goals": (0.9, 0.5)}, "goals must be two accuracies that rise"),
    ({"kinds": ("LMM", "LMM")}, "each once"),
  ],
)
def test_bad_settings_are_named(options, words):
  with pytest.raises(ValueError, match=words):
    replace_leaves(PRESETS["tiny"](), options)
