"""What a host of a slice does with the words of the script."""

import subprocess

import pytest

from launch.job import Job
from launch.process_layout import process_layout
from launch.tpu_pod.script import script


@pytest.mark.parametrize(
  ("installed", "mounted", "code"),
  [(False, False, 1), (False, True, 1), (True, False, 1), (True, True, 0)],
)
def test_a_host_runs_only_when_it_was_set_up(
  tmp_path, stubs, monkeypatch, installed, mounted, code
):
  # A gcloud that is the host itself. What it starts, it starts by nohup.
  stubs.add(
    "gcloud", 'cd "$HOME"; c="${@: -1}"; exec bash -c "${c#--command=}"'
  )
  stubs.add("nohup")
  stubs.add("mountpoint", "exit 0" if mounted else "exit 1")
  monkeypatch.setenv("HOME", str(tmp_path))
  if installed:
    python = tmp_path / "attnjax" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch(mode=0o755)
  job = Job(
    *("language_model", "gpt2_small"),
    overrides=("train.mesh.data=0", "train.microbatches=2"),
    topology="v6e:4x4",
    place="gs://mine/x",
  )
  done = subprocess.run(
    [
      "bash",
      "-c",
      script(job, process_layout(job), zone="here"),
      "job.sh",
      "run",
    ],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == code
  assert ("give this script the word setup" in done.stderr) == (code == 1)
  assert (tmp_path / "attnjax" / "run.log").exists() == (code == 0)
