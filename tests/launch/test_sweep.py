"""Sweeps: every combination once, what is done not again, and what came."""

import json
import subprocess
import sys

import pytest
import yaml
from absl import flags

from launch.command_line import define
from launch.job import Job
from launch.process_layout import process_layout
from launch.slurm.script import array_script
from launch.sweep import __main__ as sweep
from launch.sweep import queues
from launch.sweep.outcome import numbers, outcome_table, plot, read_outcomes
from launch.sweep.points import axes_of, is_finished, mark_finished, points_of

SWEEP = "optimizer.peak_learning_rate=1e-4,3e-4,1e-3;seeds=2,3"

# Stands for an experiment: fails on demand, and writes what it was told.
PROGRAM = """
import json, pathlib, sys
flags = dict(text.lstrip("-").split("=", 1) for text in sys.argv[1:])
place = pathlib.Path(flags["workdir"])
place.mkdir(parents=True, exist_ok=True)
with open(place.parent / "calls", "a") as calls:
  calls.write(place.name + "\\n")
rate = float(flags["config.optimizer.peak_learning_rate"])
if rate == 1e-3 and not (place.parent / "repaired").exists():
  sys.exit("diverged")
result = {"loss": [rate, 3 * rate], "note": "x"}
(place / "result.json").write_text(json.dumps(result))
"""


@pytest.fixture
def swept(tmp_path, monkeypatch):
  """Runs the sweep here with a program in place of the experiment."""
  program = tmp_path / "program.py"
  program.write_text(PROGRAM)

  def line(job):
    return (sys.executable, "-S", str(program), *job.line()[4:])

  monkeypatch.setattr(queues, "line_here", line)

  def run(*argv, text=SWEEP, overrides=()):
    values = flags.FlagValues()
    define(values)
    sweep.define_own(values)
    values(["x", f"--sweep={text}", *argv])
    job = Job("heads", overrides=overrides, place=str(tmp_path / "sweep"))
    return sweep.program(job, values)

  return run


@pytest.mark.slow
def test_what_is_done_is_not_done_again(tmp_path, swept, capsys):
  place = tmp_path / "sweep"
  assert swept("--at_once=2") == 1  # two points fail, four are done
  out, err = capsys.readouterr()
  assert "6 points, 6 left" in err
  assert "ended with code 1, see" in err
  assert out.count("–") == 2
  (place / "repaired").touch()
  assert swept() == 0
  out, err = capsys.readouterr()
  assert "6 points, 2 left" in err
  assert "–" not in out
  calls = (place / "calls").read_text().split()
  assert len(calls) == 8
  assert len(set(calls)) == 6
  assert swept("--collect") == 0
  assert len((place / "calls").read_text().split()) == 8
  # More values are added to what is done; other flags are not mixed in.
  assert swept(text=SWEEP.replace("2,3", "2,3,5")) == 0
  assert "9 points, 3 left" in capsys.readouterr().err
  with pytest.raises(ValueError, match="name another --workdir"):
    swept(overrides=("items=5",))
  assert (place / "sweep.png").stat().st_size > 1000
  assert "| optimizer.peak_learning_rate" in (place / "sweep.md").read_text()


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "expected name=value,value"),
    ("seeds", "expected name=value,value"),
    ("seeds=1,,2", "expected name=value,value"),
    ("seeds=2,2", "values that differ"),
    ("seeds=1;seeds=2", "comes twice"),
    ("seedz=1,2", "Did you mean: config.seeds"),
    ("seeds=1,two", "expected an integer"),
    ("seeds=1,0", "seeds"),
    ("items=2,3", "swept and overridden"),
  ],
)
def test_a_sweep_that_cannot_run_is_refused_before_it_begins(text, message):
  with pytest.raises(ValueError, match=message):
    points_of(Job("heads", overrides=("items=8",)), axes_of(text))


def test_points_are_the_product_and_named_apart():
  axes = axes_of("--config.seeds=1,2;optimizer.floor=0.1,0.2,0.3")
  points = points_of(Job("heads", place="runs/x"), axes)
  assert len({point.name for point in points}) == len(points) == 6
  for point in points:
    assert point.job.place == f"runs/x/{point.name}"
    assert set(point.job.overrides) == {
      f"{name}={value}" for name, value in zip(axes, point.values, strict=True)
    }


def test_a_point_is_the_same_in_whatever_order_its_axes_are_written():
  job = Job("heads", place="runs/x")
  axes = ["optimizer.floor=0.1,0.2", "seeds=1,2"]
  there, back = (
    {point.name: point.job for point in points_of(job, axes_of(";".join(some)))}
    for some in (axes, axes[::-1])
  )
  assert there == back
  assert min(there) == "optimizer.floor=0.1_seeds=1"


def test_a_task_of_an_array_is_one_point(tmp_path, stubs, monkeypatch):
  points = points_of(Job("heads", place=str(tmp_path)), axes_of(SWEEP))
  jobs = [point.job for point in points]
  text = array_script(jobs, process_layout(jobs[0]), tmp_path, at_once=3)
  assert "#SBATCH --array=0-5%3" in text
  stubs.add("srun", '[ "$SLURM_ARRAY_TASK_ID" = 4 ]')
  monkeypatch.setenv("SLURM_JOB_ID", "17")
  for index in (1, 4):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(index))
    done = subprocess.run(["bash", "-c", text], check=False)
    assert done.returncode == (index != 4)
    assert stubs.calls("srun")[-1].endswith(f"--workdir={jobs[index].place}")
  # The shell writes the same note as Python.
  assert [is_finished(tmp_path, p) for p in points].index(True) == 4
  written = (tmp_path / "finished" / points[4].name).read_text()
  mark_finished(tmp_path, points[4])
  assert (tmp_path / "finished" / points[4].name).read_text() == written


def test_a_point_in_a_cloud_says_that_it_is_done():
  job = Job("heads", topology="h100:1", place="gs://mine/rates")
  points = points_of(job, axes_of("seeds=2,3"))
  files = queues.sky_files(job, points, process_layout(job), spot=True)
  for (path, text), point in zip(files.items(), points, strict=True):
    found = yaml.safe_load(text)
    assert point.name in path.name
    assert f"> /checkpoints/rates/finished/{point.name}\n" in found["run"]
    assert found["resources"]["use_spot"] is True


def test_numbers_of_results_of_any_shape():
  result = {
    "model": {"loss": [1, 2, 6], "done": True, "texts": ["a"]},
    "runs": [{"error": 0.5, "only": 1}, {"error": 1.5}],
    "curves": [[1, 2], [3, 4]],
  }
  assert numbers(result) == {"model.loss": 3.0, "runs.error": 1.0}


def test_what_came_is_told_as_far_as_it_came(tmp_path):
  axes = axes_of("optimizer.floor=0.1,0.2;model.norm=rms,layer")
  points = points_of(Job("language_model", place=str(tmp_path)), axes)
  with pytest.raises(ValueError, match="no point has a number"):
    outcome_table(axes, points, read_outcomes(tmp_path, points))
  (tmp_path / points[0].name).mkdir()
  path = tmp_path / points[0].name / "result.json"
  path.write_text(json.dumps({"loss": 2.5, "accuracy": 0.25}))
  outcomes = read_outcomes(tmp_path, points)
  text = outcome_table(axes, points, outcomes, "accuracy")
  assert "0.25" in text
  assert text.count("–") == 3
  with pytest.raises(ValueError, match="there are loss, accuracy"):
    outcome_table(axes, points, outcomes, "accurazy")
  assert plot(tmp_path / "a.png", axes, points, outcomes).exists()
  words = axes_of("model.norm=rms,layer")
  points = points_of(Job("language_model", place=str(tmp_path)), words)
  assert plot(tmp_path / "b.png", words, points, [{"loss": 1.0}, None]) is None


@pytest.mark.slow
def test_a_metric_that_no_result_has_costs_no_table(tmp_path, swept, capsys):
  (tmp_path / "sweep").mkdir()
  (tmp_path / "sweep" / "repaired").touch()
  with pytest.raises(ValueError, match="there are loss, got 'lost'"):
    swept("--metric=lost")
  out, _ = capsys.readouterr()
  assert out.count("0.0002") == 2  # the mean of 1e-4 and 3e-4, of both seeds
  assert "0.0002" in (tmp_path / "sweep" / "sweep.md").read_text()
  assert swept("--metric=loss") == 0


def test_what_is_not_done_yet_is_no_fault_of_the_experiment(tmp_path, swept):
  text = "optimizer.peak_learning_rate=1e-3"
  logs = f"no point is done yet; see {tmp_path}/sweep/logs/<point>.log"
  for argv in (["--collect"], []):  # early, and when all have failed
    with pytest.raises(ValueError, match=logs):
      swept(*argv, text=text)
  with pytest.raises(ValueError, match="see squeue, and"):
    swept("--collect", "--on=slurm", text=text)
  # Done, and nothing written: this is.
  [point] = points_of(
    Job("heads", place=str(tmp_path / "sweep")), axes_of(text)
  )
  mark_finished(tmp_path / "sweep", point)
  with pytest.raises(ValueError, match="only experiments that write one"):
    swept("--collect", text=text)


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["--submit"], "--on=local, got True; leave it out, or say --on=slurm or"),
    (["--spot"], "or say --on=sky"),
    (["--sbatch=--time=5"], "or say --on=slurm"),
    (["--on=slurm", "--spot"], "--on=slurm, got True"),
    (["--on=sky", "--sbatch=--time=5"], "--on=sky, got"),
    (
      ["--on=sky", "--at_once=1"],
      "at_once: means nothing with --on=sky, got 1",
    ),
  ],
)
def test_an_option_that_means_nothing_there_is_refused(swept, argv, message):
  with pytest.raises(ValueError, match=message):
    swept(*argv)
