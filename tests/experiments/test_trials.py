"""Runs of an experiment: which diverge, whose directory, what is found."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from attnjax.config import replace_leaves
from attnjax.runs import TrainConfig, by_seed, entry, measure_once
from experiments.scaling.__main__ import _known
from experiments.scaling.config import PRESETS
from tests.children import ROOT, environment


@dataclasses.dataclass(frozen=True)
class Asked:
  """The config of an experiment that writes, or refuses."""

  writes: bool
  train: TrainConfig = TrainConfig()


def diverging(*cells):
  """A trial of which some cells diverge."""

  def trial(variant, seed):
    if (variant, seed) in cells:
      raise FloatingPointError("loss is nan")
    return {"loss": seed}

  return trial


def told(trial):
  line = lambda variant, seed, found: f"{variant} {seed}"
  each = by_seed(trial, variants=["a", "b"], seeds=2, line=line)
  return [{name: len(x) for name, x in found.items()} for found in each]


def test_runs_that_diverge_are_left_out(capsys):
  assert told(diverging(("a", 0))) == [{"a": 0, "b": 1}, {"a": 1, "b": 2}]
  assert "a, seed 0 diverged: loss is nan" in capsys.readouterr().out
  # Of the first seed nothing is left: the second is trained all the same.
  assert told(diverging(("a", 0), ("b", 0))) == [{"a": 1, "b": 1}]


def test_nothing_left_to_tell_of_is_an_error():
  cells = [(name, seed) for name in "ab" for seed in range(2)]
  with pytest.raises(FloatingPointError, match="every run diverged"):
    told(diverging(*cells))


def test_a_directory_is_one_experiment_s(tmp_path):
  def main(config, workdir):
    if config.writes:
      workdir.mkdir(exist_ok=True)
      (workdir / "result.json").write_text("{}")

  def asked(experiment, writes):
    config = Asked(writes=writes)
    entry._AgreeingMain(main, experiment)(config, tmp_path / "new")

  asked("scaling", writes=False)
  assert not (tmp_path / "new").exists()  # what is refused writes nothing
  for _ in range(2):
    asked("recall_beyond_window", writes=True)
  words = r"holds what experiments.recall_beyond_window wrote, got scaling"
  with pytest.raises(ValueError, match=words):
    asked("scaling", writes=True)


@pytest.mark.parametrize("text", ["", "{", '{"bits": 3}', "[]"])
def test_a_file_of_something_else_is_named(tmp_path, text):
  path = tmp_path / "result.json"
  path.write_text(text)
  with pytest.raises(ValueError, match=re.escape(str(path))):
    _known(path)
  with pytest.raises(ValueError, match=re.escape(str(path))):
    measure_once(path, {}, dict)
  path.write_text(json.dumps({"runs": {"key": {"loss": 1}}}))
  assert _known(path) == {"key": {"loss": 1}}


@pytest.mark.parametrize(
  ("leaf", "value", "instead"),
  [("train.steps", 7, "steps"), ("optimizer.warmup_steps", 7, "warmup")],
)
def test_what_a_sweep_of_sizes_would_ignore_is_refused(leaf, value, instead):
  with pytest.raises(ValueError, match=f"no say here; give {instead} instead"):
    replace_leaves(PRESETS["tiny"](), {leaf: value})


def test_help_lists_the_flags():
  done = subprocess.run(
    [sys.executable, "-m", "experiments.heads", "--help"],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=environment(),
  )
  for flag in ("--config.seeds", "--preset", "--workdir"):
    assert flag in done.stdout
