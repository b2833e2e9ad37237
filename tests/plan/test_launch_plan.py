"""The command line of a plan: what it prints, writes and refuses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from launch.plan_experiments import experiment_of, presets_of
from launch.writable import check_writable
from tests.children import environment

ROOT = Path(__file__).parents[2]
SMALL = (
  "--config.model.width=32",
  "--config.model.depth=1",
  "--config.model.unroll=1",
  "--config.model.hidden=64",
  "--config.data.length=16",
  "--config.data.batch_size=4",
)


def run(*arguments):
  """The command, in a process of its own."""
  return subprocess.run(
    [sys.executable, "-m", "launch.plan", *arguments],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=environment(devices=4),
  )


@pytest.mark.slow
def test_a_plan_is_printed_and_written(tmp_path):
  done = run(
    "--experiment=language_model",
    "--topology=cpu:2",
    "--config.train.mesh.data=0",
    f"--output={tmp_path / 'plan'}",
    f"--workdir={tmp_path}",
    "--alternatives=1",
    *SMALL,
  )
  assert done.returncode == 0, done.stderr
  assert "verdict: fits: " in done.stdout
  assert "| all-reduce" in done.stdout
  assert "| as it is" in done.stdout
  values = json.loads((tmp_path / "plan" / "plan.json").read_text())
  assert values["mesh"]["data"] == 2
  assert "verdict" in (tmp_path / "plan" / "plan.md").read_text()
  assert (tmp_path / "plan" / "plan.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--topology=v5p:4x4x9"], "the nearest are v5p:4x4x8"),
    ([], "unknown chip ''"),
    (["--topology=cpu:3"], "choose data=3"),
    (["--topology=cpu:1", "--workdir=/dev/null/run"], "cannot be written"),
    (["--topology=cpu:1", "--preset=gpt5"], "the presets are tiny, base"),
    (["--topology=cpu:1", "--output=gs://a/b"], "output: expected a directory"),
  ],
)
def test_what_cannot_be_is_refused_in_a_line(arguments, words):
  done = run("--experiment=language_model", *arguments)
  assert done.returncode == 1
  assert words in done.stderr
  assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
  ("flag", "words"),
  [
    ("--alternatives=-1", "-1 is not a non-negative integer"),
    ("--token_budget=nan", "expected a number of tokens above 0"),
    ("--token_budget=-5", "expected a number of tokens above 0"),
  ],
)
def test_a_number_that_means_nothing_is_refused(flag, words):
  done = run("--experiment=language_model", "--topology=cpu:1", flag)
  assert done.returncode == 1
  assert re.search(words, done.stderr + done.stdout)
  assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
  ("line", "words"),
  [
    ("plan", "expected one of language_model, memory_lm"),
    ("plan --experiment=langage_model", "Did you mean language_model?"),
    ("plan --experiment vision", "--experiment=vision: expected one of"),
  ],
)
def test_an_experiment_that_cannot_be_planned_is_refused(line, words):
  with pytest.raises(SystemExit) as error:
    experiment_of(line.split())
  assert words in str(error.value)


def test_an_experiment_is_read_from_either_form():
  for line in ("plan --experiment=memory_lm", "plan --experiment memory_lm"):
    assert experiment_of(line.split()) == "memory_lm"
  assert "gpt3" in presets_of("language_model")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
  check_writable(tmp_path / "new" / "run")
  assert not (tmp_path / "new").exists()
  (tmp_path / "file").write_text("")
  for place in (tmp_path / "file" / "run", Path("/proc/run")):
    with pytest.raises(ValueError, match="cannot be written"):
      check_writable(place)
