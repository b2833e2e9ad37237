"""Needles: what a row says, where it can be found, and a run."""

import json

import numpy as np
import pytest

from attnjax.config import replace_leaves
from experiments.needle import haystacks, report
from experiments.needle.config import PRESETS
from experiments.needle.haystacks import KINDS, HaystackConfig, Needles

TASK = HaystackConfig(words=7, keys=9, distractors=3, length=60)
SMALL = {
  "variants": ("window", "delta net"),
  "rates": (1e-2,),
  "seeds": 2,
  "steps": 2,
  "every": 1,
  "lengths": (24, 30),
  "rows": 4,
  "model.width": 8,
  "model.hidden": 8,
  "model.depth": 1,
  "model.window": 4,
  "task.words": 3,
  "task.keys": 5,
  "task.length": 24,
  "task.batch_size": 3,
  "optimizer.warmup_steps": 1,
}


def drawn(kind, count=40, length=60, task=TASK):
  draws = np.random.default_rng(0)
  return haystacks.rows_of(task, draws, [kind] * count, length)


def told(row):
  """Key -> (place, digits) of every needle before the question of a row."""
  before = row[:-4]
  places = np.flatnonzero((before >= 7) & (before < 16))
  return {
    int(before[n]): (int(n), before[n + 1 : n + 5].tolist()) for n in places
  }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [24, 60, 61])
def test_the_answer_is_the_value_of_the_key_that_is_asked(kind, length):
  batch, places = drawn(kind, length=length), set()
  for row, target in zip(batch["tokens"], batch["targets"], strict=True):
    needles = told(row)
    assert len(needles) == (4 if kind == "distractors" else 1)
    place, digits = needles[int(row[-4])]
    assert digits == target.tolist()
    assert row[-3:].tolist() == digits[:-1]
    assert min(digits) >= 16
    places.add(place)
  assert len(places) > (3 if length == 24 else 8)


def test_haystacks_are_of_their_kind():
  plain = lambda row: np.where(row < 7, row, -1)[:-4]
  for row in drawn("repeated")["tokens"]:
    words = plain(row)
    for n in range(8):
      assert len({*words[n::8].tolist()} - {-1}) <= 1
  row = plain(drawn("words")["tokens"][0])
  assert {*row.tolist()} == {-1, *range(7)}


def test_batches_are_of_their_step_and_seed_and_of_all_kinds():
  draw = lambda seed, step: Needles(TASK, seed)(step)["tokens"]
  np.testing.assert_array_equal(draw(1, 2), draw(1, 2))
  assert (draw(1, 2) != draw(1, 3)).any()
  assert (draw(1, 2) != draw(2, 2)).any()
  assert {len(told(row)) for row in draw(1, 2)} == {1, 4}


def test_the_best_rate_is_that_of_training_and_starred_at_an_edge():
  leaves = {"variants": ("MAC",), "rates": (0.1, 0.2, 0.3), "lengths": (256,)}
  config = replace_leaves(PRESETS["tiny"](), leaves)
  found = lambda end: {
    "curve": [[0.0, end]],
    "values": {kind: {"256": [1 - end]} for kind in KINDS},
  }
  ends = {0.1: 0.4, 0.2: 0.9, 0.3: 0.8}
  cells = {("MAC", rate): found(end) for rate, end in ends.items()}
  assert report.best(config, cells, "MAC") == 0.2
  assert "| MAC     |  0.2 | 0.100 |" in report.tables(config, cells)
  cells["MAC", 0.3] = found(0.95)
  said = report.tables(config, cells)
  assert "| MAC     | 0.3* | 0.050 |" in said
  assert "| MAC     | 0.400 | 0.900 | 0.950 |" in said  # the sweep


@pytest.mark.slow
def test_a_run_writes_its_numbers_and_figures(tmp_path, typed):
  ended = typed("needle", tmp_path, SMALL)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  assert len(written) == 2
  for cell in written.values():
    assert np.shape(cell["curve"]) == (2, 2)  # seeds, looks
    for kind in KINDS:
      assert {n: len(x) for n, x in cell["values"][kind].items()} == {
        "24": 2,
        "30": 2,
      }
  assert "values named, distractors" in ended.out
  assert (tmp_path / "repeated.png").stat().st_size > 1000


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"task.distractors": 64}, "distractors must be fewer than keys=64"),
    ({"task.length": 23}, "length must be at least the 24 tokens"),
    ({"task.batch_size": 4}, "batch_size must be a multiple of 3 kinds"),
    ({"lengths": (23,)}, "lengths must be numbers of at least 24"),
    ({"every": 7}, "every must divide steps=2000, got 7"),
    ({"rates": (0.1, 0.1)}, "each once"),
    ({"model.window": None}, "model.window: expected a number of tokens"),
  ],
)
def test_bad_settings_are_named(options, words):
  with pytest.raises(ValueError, match=words):
    replace_leaves(PRESETS["tiny"](), options)
