"""The commands of the READMEs: each runs as it is written."""

import re
import shlex

import pytest
from absl import flags

from launch.command_line import define, job_of
from launch.job import ROOT
from launch.local import __main__ as local
from launch.process_layout import process_layout
from launch.sweep import __main__ as sweep
from launch.sweep import queues

PLACES = ("gke", "openmpi", "sky", "slurm", "tpu_pod")


def commands(place):
  """The arguments of each call of a launcher in its README and docstring."""
  folder = ROOT / "launch" / place
  for name in ("README.md", "__main__.py"):
    text = (folder / name).read_text().replace("\\\n", " ")
    for line in re.findall(rf"^python -m launch\.{place} (.*)$", text, re.M):
      yield shlex.split(line.split(" > ")[0], comments=True)


@pytest.mark.parametrize("place", PLACES)
def test_a_command_is_shown_as_written(place, launcher):
  found = [[word for word in c if word != "--submit"] for c in commands(place)]
  assert len(found) >= 2
  for command in found:
    code, out, err = launcher(place, *command)
    assert code == 0, err
    assert "experiments.language_model" in out


def tried(place):
  """The flags that a README adds to its commands to try them cheaply."""
  text = (ROOT / "launch" / place / "README.md").read_text()
  [paragraph] = re.findall(r"\*\*What it costs to try\.\*\*(.*)", text)
  words = shlex.split(" ".join(re.findall(r"`(--[^`]+)`", paragraph)))
  return [word for word in words if word != "--submit"]  # as in its stead


@pytest.mark.parametrize("place", [*PLACES, "local", "sweep"])
def test_what_is_said_to_cost_little_is_accepted(
  tmp_path, monkeypatch, launcher, place
):
  monkeypatch.chdir(tmp_path)
  lines = []
  note = lambda line, *_: lines.append(line) or 0
  for module in (local, queues):
    monkeypatch.setattr(module, "run_together", note)
  monkeypatch.setattr(sweep, "_report", lambda *_: None)
  for command in commands(place):
    words = [word for word in command if word != "--submit"]
    code, out, err = launcher(place, *words, *tried(place))
    assert code == 0, err
    shown = out + "".join(" ".join(line) for line in lines)
    for flag in tried(place):
      assert not flag.startswith("--config.") or flag in shown


def described():
  """Every command of every README, those of plans and sweeps too."""
  for path in sorted((ROOT / "launch").rglob("README.md")):
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^python -m launch\.(.*)$", text, re.M):
      yield pytest.param(line, id=f"{path.parent.name}: {line[:60]}")


@pytest.mark.parametrize("line", list(described()))
def test_a_command_describes_a_job_that_can_run(line):
  ours = ("--experiment", "--preset", "--topology", "--config", "--processes")
  words = [w for w in shlex.split(line, comments=True) if w.startswith(ours)]
  values = flags.FlagValues()
  define(values)
  assert process_layout(job_of(values, ["x", *words])).processes >= 1


def test_a_batch_script_is_all_that_is_printed(launcher):
  """For `| sbatch --test-only`: what is said beside it is no part of it."""
  _, out, err = launcher("slurm", "--experiment=heads", "--topology=cpu:1")
  assert out.startswith("#!/bin/bash\n#SBATCH ")
  assert "nothing is queued" in err
