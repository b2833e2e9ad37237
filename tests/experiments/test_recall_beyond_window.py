"""Recall: the task, models of one size, changed memories, a leak, and a run."""

import json

import chex
import jax
import numpy as np
import pytest

from attnjax import memory
from attnjax.config import replace_leaves
from experiments import recall_task as task
from experiments.recall_accuracy import asked_rows
from experiments.recall_beyond_window import (
  interventions,
  report,
  variants,
)
from experiments.recall_beyond_window.config import (
  PRESETS,
  VARIANTS,
)
from experiments.recall_task import TaskConfig
from tests import drawn
from tests.experiments.small_recall import SMALL

QUICK = ("full attention", "window + persistent", "gated delta net")
MEMORIES = ("linear attention", "gated delta net", "LMM", "MAC", "MAG", "MAL")


def mostly_slow(names):
  """The names, all but the quick ones marked as slow: each is a compilation."""
  return [
    n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names
  ]


def small(**changes):
  return replace_leaves(PRESETS["tiny"](), SMALL | changes)


def random_model(config, variant):
  return drawn.module(lambda: variants.make(config, variant, 16, 0))


def test_every_question_is_about_a_pair_and_the_later_value_answers_it():
  config = TaskConfig(rewritten=0.5)
  batch = task.Batches(config, 3)(5)
  gaps, again = set(), 0
  for tokens, targets in zip(batch["tokens"], batch["targets"], strict=True):
    told, asked = np.split(tokens, [config.length - config.questions])
    (places,) = told.nonzero()
    keys, values = told[places[::2]], told[places[1::2]]
    assert (keys <= 64).all()
    assert (values > 64).all()
    assert (np.diff(places) == 1).all()
    gaps.add(len(told) - places[-1])
    again += len(keys) - len({*keys})
    latest = dict(zip(keys.tolist(), values.tolist(), strict=True))
    assert [latest[key] for key in asked.tolist()] == targets.tolist()
  assert len(gaps) > 8
  assert again > 10


def test_batches_are_of_their_step_and_seed_alone():
  draw = lambda seed, step: task.Batches(TaskConfig(), seed)(step)["tokens"]
  np.testing.assert_array_equal(draw(1, 2), draw(1, 2))
  assert (draw(1, 2) != draw(1, 3)).any()
  assert (draw(1, 2) != draw(2, 2)).any()


@pytest.mark.slow
def test_a_state_grows_with_the_length_of_full_attention_alone():
  config = small()
  sizes = {
    name: variants.state_bytes(config, name, 16, (32, 64)) for name in VARIANTS
  }
  growing = {name for name, size in sizes.items() if size[64] > size[32]}
  assert growing == {"full attention"}


@pytest.mark.parametrize("variant", mostly_slow(VARIANTS))
def test_a_window_knows_nothing_of_pairs_beyond_its_reach(variant):
  config = small()
  model = random_model(config, variant)
  batch = asked_rows(config.task, 6, 32, 3, 3)
  other = batch["tokens"].copy()
  other[:, 1:6:2] = 12 + (other[:, 1:6:2] - 11) % 13  # every value
  forward = jax.jit(lambda model, tokens: model(tokens)[:, -3:])
  before, after = forward(model, batch["tokens"]), forward(model, other)
  blind = variant.startswith("window")
  assert bool((before == after).all()) == blind


@pytest.mark.slow
@pytest.mark.parametrize("variant", mostly_slow(MEMORIES))
def test_reading_on_from_a_state_says_what_the_whole_row_says(variant):
  config = small()
  model = variants.make(config, variant, 16, 0)
  tokens = interventions.twins(config)["tokens"]
  kept = interventions.answer_logits(model, tokens, 3, interventions.kept)
  whole = jax.jit(lambda model, x: model(x)[:, -3:])(model, tokens)
  apart = np.abs(kept - np.roll(kept, 1, axis=0)).max()
  assert 1e-4 < apart < np.inf
  assert np.abs(kept - whole).max() < 0.02 * apart


@pytest.mark.parametrize("variant", mostly_slow(["gated delta net", "MAC"]))
def test_memories_are_changed_and_nothing_else_is(variant):
  model = random_model(small(), variant)
  tokens = interventions.twins(small())["tokens"][:, :-3]
  fresh = model.init_cache((6,), 29)
  state = jax.jit(lambda model, x: model.decode(x, fresh)[1])(model, tokens)
  held = lambda state: (state.memory.memory, state.memory.tail, state.cache)
  old = held(state)
  new = held(interventions.swapped(state, fresh))
  weights = lambda memory: np.asarray(memory.weights["map_0"])
  np.testing.assert_array_equal(
    weights(new[0]), np.roll(weights(old[0]), 1, axis=1)
  )
  blank = held(interventions.reset(state, fresh))
  np.testing.assert_array_equal(weights(blank[0]), weights(fresh.memory.memory))
  chex.assert_trees_all_equal(old[1:], new[1:], blank[1:])
  for found in (new, blank):
    np.testing.assert_array_equal(found[0].position, old[0].position)


@pytest.mark.parametrize("variant", mostly_slow(["LMM", "MAC"]))
def test_without_a_rate_all_rows_are_alike(variant):
  config = small()
  model = variants.make(config, variant, 16, 0)
  tokens = interventions.twins(config)["tokens"]
  after = lambda model: interventions.answer_logits(
    model, tokens, 3, interventions.kept
  )
  still = interventions.without_rate(model)
  found, writing = after(still), after(model)
  apart = lambda x: np.abs(x - np.roll(x, 1, axis=0)).max()
  # What is forgotten still depends on the row, if only a little.
  assert apart(found) < 0.1 * apart(writing)
  assert model.blocks.mixer.memory.max_rate == 0.125  # left as it was


def test_a_flipped_sign_climbs_and_flips_back():
  config = small()
  objective = lambda variant: (
    interventions.with_flipped_sign(
      random_model(config, variant)
    ).blocks.mixer.memory.rule.objective
  )
  assert objective("LMM") == memory.negative(memory.l2())
  assert objective("LMM climbing") == memory.l2()


@pytest.mark.slow
def test_a_memory_that_solves_for_its_weights_has_no_sign_to_flip():
  found = interventions.intervene(small(), random_model(small(), "MesaNet"))
  assert [*found] == [*interventions.COLUMNS[:-1]]


def test_every_variant_can_be_named_in_a_flag():
  # Commas stand between them.
  assert not any("," in variant for variant in VARIANTS)


def test_filler_is_drawn_where_nothing_is_told():
  config = TaskConfig(keys=16, values=4, fillers=5, length=80, questions=10)
  one = task.Batches(config, 0)(0)
  plain = task.Batches(replace_leaves(config, {"fillers": 1}), 0)(0)
  told = plain["tokens"] > 0
  np.testing.assert_array_equal(one["tokens"][told], plain["tokens"][told])
  np.testing.assert_array_equal(one["targets"], plain["targets"])
  assert {*one["tokens"][~told].tolist()} == {0, 21, 22, 23, 24}
  assert task.vocabulary(config) == 25


def test_twins_differ_in_values_alone():
  tokens = interventions.twins(small())["tokens"]
  values = np.zeros(tokens.shape[1], bool)
  values[1:6:2] = True
  assert (tokens[:, ~values] == tokens[:1, ~values]).all()
  assert (tokens[:, values] != tokens[:1, values]).any()


def found(last, far=0.5, size=100):
  """What was found of a cell whose training ended at an accuracy."""
  seed = {
    "by length": {"32": far, "48": far},
    "by pairs": {"2": last, "7": far},
    "overwritten": {"later": 1.0, "earlier": 0.0},
    "interventions": {},
  }
  return {
    "parameters": 1000,
    "bytes": {"32": size, "48": size},
    "curve": [[0.1, last]],
    "seeds": [seed],
  }


def test_the_best_rate_is_that_of_training_and_starred_at_an_edge():
  rates = (0.1, 0.2, 0.3)
  config = small(variants=("MAC",), rates=rates)
  accuracies = dict(zip(rates, (0.4, 0.9, 0.8), strict=True))
  cells = {("MAC", 16, rate): found(x) for rate, x in accuracies.items()}
  assert report.best(config, cells, "MAC", 16) == 0.2
  assert "| MAC     |    16 |  0.2 |" in report.tables(config, cells)
  cells["MAC", 16, 0.1] = found(0.95, far=0.1)
  said = report.tables(config, cells)
  assert "| MAC     |    16 | 0.1* |" in said
  assert "| MAC     |    16 | 0.950 | 0.900 | 0.800 |" in said  # the sweep


def test_what_is_not_at_chance_beyond_the_reach_is_called_a_leak():
  config = small(**{"test.lengths": (32, 48)})
  cells = lambda name, x: {(name, 16, 0.01): found(0.1, far=x)}
  chance = cells("window", 1 / config.task.values)
  assert "standard deviations" in report.check_reach(config, chance)
  with pytest.raises(RuntimeError, match="a leak"):
    report.check_reach(config, cells("window", 1.0))
  assert report.check_reach(config, cells("MAC", 1.0)) == ""


@pytest.mark.slow
def test_a_run_writes_its_numbers_and_figures(tmp_path, typed):
  leaves = SMALL | {"variants": ("window", "gated delta net")}
  ended = typed("recall_beyond_window", tmp_path, leaves)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  window, gated = written.values()
  assert set(gated["seeds"][0]["interventions"]) == set(interventions.COLUMNS)
  assert set(gated["seeds"][0]["by length"]) == {"32", "48"}
  assert window["seeds"][0]["interventions"] == {}
  assert (tmp_path / "pairs_2.png").stat().st_size > 1000
  said = ended.out
  assert "the memory changed" in said
  assert "beyond its reach of 7 tokens" in said


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"task.fewest": 33}, "fewest <= most <= keys, got 33, 32 and 128"),
    ({"task.length": 40}, "does not hold 32 pairs and 16 questions"),
    ({"task.rewritten": 1.0}, r"rewritten must be in \[0, 1\), got 1.0"),
    ({"test.rows": 7}, "rows must be even, got 7"),
    ({"test.read": 15}, "read must hold 8 pairs"),
    ({"test.lengths": ()}, "lengths must be numbers of at least 1"),
    ({"test.capacity_length": 100}, "capacity_length must be at least 136"),
    ({"task.keys": 64, "test.capacities": (65,)}, "task.keys must be at least"),
    ({"every": 7}, "every must divide steps=2000, got 7"),
    ({"widths": (16, 16)}, "each once"),
    ({"model.window": None}, "model.window: expected a number of tokens"),
    ({"variants": ("MAC", "MAC")}, "each once"),
    ({"seeds": 0}, "seeds must be at least 1, got 0"),
  ],
)
def test_bad_settings_are_named(options, words):
  with pytest.raises(ValueError, match=words):
    replace_leaves(PRESETS["tiny"](), options)
