"""A job of SLURM has time to run before it is told to save."""

import math
import pathlib
import re
import subprocess

import pytest

from launch.job import Job
from launch.process_layout import process_layout
from launch.slurm.limit import EARLY, limit_of
from launch.slurm.script import array_script, script

JOB = Job("heads", topology="cpu:1", place="/scratch/x/point")


def told(*options):
  """Seconds before its end at which a job is told, alone or in an array."""
  layout, place = process_layout(JOB), pathlib.Path("/scratch/x")
  for text in (
    script(JOB, layout, options),
    array_script([JOB], layout, place, options),
  ):
    found = re.findall(r"^#SBATCH --signal=\S*TERM@(\d+)$", text, re.MULTILINE)
    yield int(found[-1])  # sbatch takes the last


@pytest.mark.parametrize(
  ("options", "limit"),
  [
    ((), math.inf),
    (("--time=4:00:00",), 4 * 3600),
    (("--time=1-0",), 86400),
    (("--time=UNLIMITED",), math.inf),
    (("--time=5",), 300),
    (("-t 4",), 240),
    (("-t3",), 180),
    (("--time 0:03:00",), 180),
    (("--time=2:30",), 180),  # SLURM rounds up to whole minutes
    (("--time=60", "--time-min=3"), 180),
    (("--time=1", "--time=5"), 300),  # the last of two counts
    (("--time=60", "--signal=TERM@600"), 3600),
  ],
)
def test_a_job_runs_before_it_is_told_to_save(options, limit):
  for notice in told(*options):
    assert notice >= 60
    assert limit - notice - EARLY >= 60


@pytest.mark.parametrize(
  "options",
  [
    ("--time=1",),
    ("--time=2",),
    ("-t 1",),
    ("-t1",),
    ("--time 1",),
    ("--time=0:30",),
    ("--time=0:02:00",),
    ("--time=60", "--time-min=1"),
    ("--time=10", "--signal=TERM@600"),
    ("--time=2", "--signal=R:TERM"),
  ],
)
def test_a_limit_that_leaves_no_time_is_refused(launcher, options):
  argv = [f"--sbatch={option}" for option in options]
  for place, more in (("slurm", ()), ("sweep", ("--on=slurm",))):
    code, out, err = launcher(
      place,
      *("--experiment=heads", "--topology=cpu:1", *argv, *more),
      *(("--sweep=seeds=1",) if more else ()),
    )
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("error: sbatch: expected a ")
    assert "--sbatch=--time=5" in err or "raise --time" in err


def test_the_environment_of_sbatch_counts(launcher, monkeypatch):
  monkeypatch.setenv("SBATCH_TIMELIMIT", "1")
  argv = ("--experiment=heads", "--topology=cpu:1", "--sbatch=--time=60")
  assert launcher("slurm", *argv)[0] == 1


@pytest.mark.parametrize(
  ("text", "seconds"),
  [
    ("30", 1800),
    ("1:30", 120),
    ("1:00:01", 3660),
    ("2-12", 60 * 3600),
    ("0-0:5", 300),
    ("1-1:1:1", 86400 + 3600 + 120),
    ("0", math.inf),
    ("infinite", math.inf),
  ],
)
def test_limits_as_sbatch_reads_them(text, seconds):
  assert limit_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1h", "1:2:3:4", "-5", "1-"])
def test_what_is_no_limit_is_refused(text):
  with pytest.raises(ValueError, match="expected a time limit such as 30"):
    limit_of(text)


@pytest.mark.parametrize(
  ("limit", "runs"),
  [
    ("UNLIMITED", True),
    ("1-00:00:00", True),
    ("1:00:00", True),
    ("08:09", True),
    ("5:00", True),
    ("2:00", False),
    ("0:30", False),
  ],
)
def test_a_limit_of_the_partition_is_seen_by_the_job(
  stubs, monkeypatch, limit, runs
):
  stubs.add("srun", "exit 75")  # asked to stop, and saved
  stubs.add("scontrol")
  monkeypatch.setenv("SLURM_JOB_ID", "17")
  stubs.add("squeue", f"echo {limit}")
  text = script(JOB, process_layout(JOB))
  done = subprocess.run(
    ["bash", "-c", text], capture_output=True, text=True, check=False
  )
  assert done.returncode == (75 if runs else 1)
  assert stubs.calls("scontrol") == (["requeue 17"] if runs else [])
  assert ("give --sbatch=--time=5 or more" in done.stderr) == (not runs)
  assert stubs.calls("squeue") == ["--noheader --jobs=17 --format=%l"]
