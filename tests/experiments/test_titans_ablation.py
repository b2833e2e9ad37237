"""The ablation: what each variant changes, its intervals, and a run."""

import dataclasses
import json
import math

import numpy as np
import pytest

from attnjax import memory
from attnjax.config import replace_leaves, to_dict
from attnjax.models.memory_config import make_rule
from experiments.recall_accuracy import asked_rows
from experiments.titans_ablation import report
from experiments.titans_ablation.config import BESIDE, PRESETS, VARIANTS

SMALL = {
  "rates": (1e-2,),
  "seeds": 2,
  "steps": 2,
  "every": 1,
  "pairs": (2, 7),
  "length": 24,
  "questions": 3,
  "rows": 4,
  "model.width": 8,
  "model.hidden": 8,
  "model.window": 4,
  "model.persistent": 2,
  "model.segment": 4,
  "model.chunk": 4,
  "task.keys": 11,
  "task.fillers": 2,
  "task.values": 13,
  "task.length": 29,
  "task.fewest": 2,
  "task.most": 5,
  "task.questions": 3,
  "task.batch_size": 2,
  "optimizer.warmup_steps": 1,
}


def small(**changes):
  return replace_leaves(PRESETS["tiny"](), SMALL | changes)


def model_of(variant):
  return dataclasses.replace(PRESETS["tiny"]().model, **VARIANTS[variant])


def test_each_variant_changes_one_thing_of_what_it_is_beside():
  for name in VARIANTS:
    whole = to_dict(model_of(BESIDE.get(name, "LMM")))
    mine = to_dict(model_of(name))
    changed = {key for key in mine if mine[key] != whole[key]}
    # MAC is another architecture, whose segments limit its attention.
    expected = {"LMM": 0, "MAC": 2}.get(name, 1)
    assert len(changed) == expected, (name, changed)


def test_rules_of_the_variants_are_what_their_names_say():
  rule = lambda name: make_rule(model_of(name))
  maps = lambda name: len(rule(name).structure.shapes(3, 3))
  assert rule("LMM").algorithm == memory.momentum(dampened=True)
  assert rule("no momentum").algorithm == memory.gradient_descent()
  assert not rule("no decay").retention.decays
  assert [maps(x) for x in ("depth 1 (a matrix)", "LMM", "depth 3")] == [
    1,
    2,
    3,
  ]
  chunks = [rule(f"chunks of {n}").chunk for n in (1, 4, 64)]
  assert chunks == [1, 4, 64]
  assert rule("climbing").objective == memory.negative(memory.l2())


def test_every_variant_can_be_named_in_a_flag():
  # Commas stand between them.
  assert not any("," in variant for variant in VARIANTS)


def test_all_are_asked_the_same_and_each_pair_once():
  task = small().task
  rows = asked_rows(task, 5, 24, 7, 3)
  again = asked_rows(task, 5, 24, 7, 3)
  np.testing.assert_array_equal(rows["tokens"], again["tokens"])
  for tokens, targets in zip(rows["tokens"], rows["targets"], strict=True):
    told = dict(
      zip(tokens[:14:2].tolist(), tokens[1:14:2].tolist(), strict=True)
    )
    asked = tokens[-3:].tolist()
    assert len({*asked}) == 3
    assert [told[key] for key in asked] == targets.tolist()


def test_nineteen_intervals_of_twenty_hold_the_mean():
  draws = np.random.default_rng(0).normal(2.0, 3.0, size=(2000, 5))
  held = [abs(x.mean() - 2.0) <= report.interval(x.tolist()) for x in draws]
  # 0.95, within four of its standard deviations of 0.005.
  assert abs(np.mean(held) - 0.95) < 0.02


def test_the_steps_to_a_goal_are_a_median_that_may_be_infinite():
  curve = [[0.1, 0.5], [0.6, 0.9], [0.0, 0.1], [0.2, 0.4]]
  assert report.steps_to(curve, 0.5, 50) == math.inf
  assert report.steps_to(curve[:3], 0.5, 50) == 100
  assert report.steps_to(curve, 0.1, 50) == 50


def found(accuracies, end=0.9):
  """What was found of a cell with these accuracies, at any number of pairs."""
  return {
    "parameters": 1000,
    "bytes": 100,
    "curve": [[0.1, end] for _ in accuracies],
    "pairs": {"2": accuracies, "7": accuracies},
  }


def test_a_difference_is_taken_seed_by_seed():
  config = small(variants=("LMM", "no decay", "MAC no persistent"))
  cells = {
    ("LMM", 0.01): found([0.5, 0.7, 0.9]),
    ("no decay", 0.01): found([0.4, 0.6, 0.8]),
    ("MAC no persistent", 0.01): found([0.4, 0.6, 0.8]),
  }
  said = report.tables(config, cells)
  # Means 0.2 apart in seeds, and 0.1 from the whole in each of them.
  assert "0.600 ± 0.497 | -0.100 ± 0.000" in said
  # MAC, which it is beside, is not there.
  assert "| MAC no persistent | 0.01 | 0.600 ± 0.497 |              - |" in said
  assert "| LMM               | 0.01 | 0.700 ± 0.497 |              - |" in said


def test_the_best_rate_is_that_of_training_and_starred_at_an_edge():
  config = small(variants=("LMM",), rates=(0.1, 0.2))
  cells = {
    ("LMM", 0.1): found([1.0, 1.0], end=0.4),
    ("LMM", 0.2): found([0.5, 0.5], end=0.8),
  }
  assert report.best(config, cells, "LMM") == 0.2
  said = report.tables(config, cells)
  assert "| LMM     | 0.2* | 0.500 ± 0.000 |" in said
  assert "| LMM     | 0.400 ± 0.000 | 0.800 ± 0.000 |" in said  # the sweep


@pytest.mark.slow
def test_a_run_writes_its_numbers_and_its_figure(tmp_path, typed):
  leaves = SMALL | {"variants": ("LMM", "no momentum", "MAC no persistent")}
  ended = typed("titans_ablation", tmp_path, leaves)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  assert len(written) == 3
  for cell in written.values():
    assert np.shape(cell["curve"]) == (2, 2)  # seeds, looks
    assert {n: len(x) for n, x in cell["pairs"].items()} == {"2": 2, "7": 2}
  whole, plain, _ = written.values()
  # A gate less, and its bias; and one of three sets of weights in the state.
  assert whole["parameters"] - plain["parameters"] == 9
  assert whole["bytes"] > 1.3 * plain["bytes"]
  assert "steps to 0.9" in ended.out
  assert (tmp_path / "training.png").stat().st_size > 1000


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"variants": ("MAC", "MAC")}, "each once"),
    ({"pairs": (16, 16)}, "each once"),
    ({"pairs": ()}, "pairs: expected one or more"),
    ({"pairs": (129,)}, "pairs must be numbers of at most task.keys=128"),
    ({"length": 71}, "length must be at least the 72 tokens of 32 pairs"),
    ({"every": 7}, "every must divide steps=2000, got 7"),
    ({"model.window": None}, "model.window: expected a number of tokens"),
  ],
)
def test_bad_settings_are_named(options, words):
  with pytest.raises(ValueError, match=words):
    replace_leaves(PRESETS["tiny"](), options)
