"""Words of groups: what they are, what can follow them, and a run."""

import json

import numpy as np
import pytest

from attnjax.config import replace_leaves
from experiments.state_tracking import report
from experiments.state_tracking.config import PRESETS
from experiments.state_tracking.groups import GROUPS, Words, group
from experiments.state_tracking.training import trained

SMALL = {
  "groups": ("parity",),
  "variants": ("rates to 2", "full attention"),
  "rates": (1e-2,),
  "seeds": 2,
  "steps": 4,
  "every": 2,
  "length": 5,
  "batch_size": 2,
  "lengths": (5, 8),
  "rows": 4,
  "model.width": 8,
  "model.hidden": 8,
  "optimizer.warmup_steps": 1,
}
SIZES = {"parity": (2, 2), "S3": (6, 6), "A5": (60, 21), "S5": (120, 11)}


@pytest.mark.parametrize("name", GROUPS)
def test_a_table_is_that_of_a_group(name):
  found = group(name)
  table, size = found.table, len(found.table)
  assert (size, len(found.letters)) == SIZES[name]
  np.testing.assert_array_equal(table[0], np.arange(size))
  np.testing.assert_array_equal(table[:, 0], np.arange(size))
  for lines in (table, table.T):  # each element once: there are inverses
    np.testing.assert_array_equal(
      np.sort(lines, axis=1), np.tile(np.arange(size), (size, 1))
    )
  a, b, c = np.random.default_rng(0).integers(size, size=(3, 50))
  np.testing.assert_array_equal(table[table[a, b], c], table[a, table[b, c]])


@pytest.mark.parametrize("name", GROUPS)
def test_letters_spell_every_element(name):
  found, reached = group(name), {0}
  while True:
    more = reached | {
      int(found.table[a, b]) for a in reached for b in found.letters
    }
    if more == reached:
      break
    reached = more
  assert len(reached) == len(found.table)


def test_words_are_of_their_step_and_their_targets_of_their_letters():
  first, again = (Words("S3", 7, 5, seed=1)(3) for _ in range(2))
  np.testing.assert_array_equal(first["tokens"], again["tokens"])
  assert (first["tokens"] != Words("S3", 7, 5, seed=1)(4)["tokens"]).any()
  np.testing.assert_array_equal(first["targets"][:, 0], first["tokens"][:, 0])
  state = first["targets"][:, 5]
  expected = group("S3").table[state, first["tokens"][:, 6]]
  np.testing.assert_array_equal(first["targets"][:, 6], expected)


def test_the_best_rate_is_chosen_at_the_length_of_training():
  config = replace_leaves(PRESETS["tiny"](), {"rates": (0.1, 0.2, 0.3)})
  cell = lambda rate: ("parity", "rates to 2", rate)
  found = lambda near, far: {"by length": {"40": [near], "256": [far]}}
  results = {
    cell(0.1): found(0.9, 0.5),
    cell(0.2): found(0.8, 0.9),
    cell(0.3): found(0.7, 0.9),
  }
  assert report.best(config, results, "parity", "rates to 2") == 0.1


@pytest.mark.slow
def test_two_writes_of_rates_to_two_follow_parity_beyond_its_length():
  config = replace_leaves(PRESETS["tiny"](), {"seeds": 1, "steps": 300})
  far = lambda variant: trained(config, "parity", variant, 1e-2)["by length"]
  assert far("two writes, rates to 2")["160"][0] > 0.95
  assert far("two writes, rates to 1")["160"][0] < 0.7


@pytest.mark.slow
def test_a_run_writes_its_numbers_and_figures(tmp_path, typed):
  ended = typed("state_tracking", tmp_path, SMALL)
  assert ended.code == 0, ended.err
  written = json.loads((tmp_path / "result.json").read_text())
  assert len(written) == 2
  for cell in written.values():
    assert np.shape(cell["curve"]) == (2, 2)  # seeds, looks
    assert {n: len(x) for n, x in cell["by length"].items()} == {"5": 2, "8": 2}
  assert "parity, chance 0.500" in ended.out
  assert (tmp_path / "parity.png").stat().st_size > 1000


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"every": 7}, "every must divide steps=1500, got 7"),
    ({"groups": ("S3", "S3")}, "each once"),
    ({"lengths": (80, 160)}, r"lengths must rise and hold length=40"),
    ({"lengths": (80, 40)}, r"lengths must rise and hold length=40"),
  ],
)
def test_bad_settings_are_named(options, words):
  with pytest.raises(ValueError, match=words):
    replace_leaves(PRESETS["tiny"](), options)
