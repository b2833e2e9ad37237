"""Real processes, schedulers and sweeps on this machine."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from slurm_cluster import Cluster

from launch.job import ROOT

pytestmark = pytest.mark.slow

# A program that is trained in two processes in seconds: rows over both.
TWO = ("train.mesh.data=0", "train.steps=4", "train.evaluate_every=0")
TWO += ("model.width=16", "model.depth=1", "model.heads=2", "model.hidden=32")
TWO += ("data.length=32", "data.batch_size=4", "sample.tokens=3")
TWO += ("optimizer.warmup_steps=1", "train.log_every=1")


@pytest.fixture
def flags(tmp_path):
  """A small job of two processes on texts of our own."""
  texts = tmp_path / "texts"
  texts.mkdir()
  for index in range(8):
    words = f"The cat {index} sat on the mat of the dog {index + 3}.\n"
    (texts / f"{index}.txt").write_text(words * 20)
  return [
    *("--experiment=language_model", "--topology=cpu:2", "--processes=2"),
    *(f"--config.{text}" for text in TWO),
    "--noconfig.yardsticks",
    f"--config.data.path={texts}",
    f"--workdir={tmp_path / 'run'}",
  ]


def trained(place):
  """The steps that were logged: each once, by one process."""
  text = (place / "metrics.jsonl").read_text()
  records = [json.loads(line) for line in text.splitlines()]
  return [r["step"] for r in records if r["split"] == "train"]


def launched(module, *argv, **keywords):
  """Runs a launcher to its end."""
  environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  return subprocess.run(
    [sys.executable, "-m", f"launch.{module}", *argv],
    cwd=ROOT,
    env=environment | keywords,
    capture_output=True,
    text=True,
    timeout=900,
    check=False,
  )


def test_two_processes_here(tmp_path, flags):
  done = launched("local", *flags)
  assert done.returncode == 0, done.stderr
  assert "process 1 of 2" in done.stderr
  assert trained(tmp_path / "run") == [1, 2, 3, 4]


@pytest.mark.skipif(not shutil.which("mpirun"), reason="Open MPI is not here")
def test_two_processes_of_open_mpi(tmp_path, flags):
  options = "--oversubscribe --mca btl self,vader --mca oob_tcp_if_include lo"
  if os.geteuid() == 0:
    options += " --allow-run-as-root"
  done = launched("openmpi", *flags, f"--mpirun={options}", "--submit")
  assert done.returncode == 0, done.stderr
  assert trained(tmp_path / "run") == [1, 2, 3, 4]


@pytest.mark.skipif(
  not shutil.which("slurmctld") or os.geteuid() != 0,
  reason="needs root, and apt-get install slurm-wlm munge",
)
def test_two_processes_of_slurm(tmp_path, flags):
  place = tmp_path / "100% run of %j"  # sbatch has a meaning for %
  flags = [*flags, f"--workdir={place}"]
  with Cluster(tmp_path / "cluster") as cluster:
    done = launched(
      "slurm",
      *flags,
      *("--sbatch=--wait", "--sbatch=--export=ALL", "--submit"),
      # The names of the nodes resolve to nothing here.
      JAX_COORDINATOR_ADDRESS="127.0.0.1:29701",
      SLURM_CONF=str(cluster.conf),
    )
    logs = "".join(p.read_text() for p in place.glob("*.out"))
    assert done.returncode == 0, done.stderr + logs + cluster.logs()
  assert "process 1 of 2" in logs
  assert trained(place) == [1, 2, 3, 4]


@pytest.mark.skipif(
  not shutil.which("slurmctld") or os.geteuid() != 0,
  reason="needs root, and apt-get install slurm-wlm munge",
)
def test_options_and_a_limit_as_a_real_queue_has_them(tmp_path):
  comment = 'it\'s "two" words, $(touch pwned) \\ and #1'
  job = (
    "--experiment=heads",
    "--topology=cpu:1",
    f"--workdir={tmp_path / 'x'}",
  )
  with Cluster(tmp_path / "cluster") as cluster:
    conf = {"SLURM_CONF": str(cluster.conf)}
    argv = ("--sbatch=--hold", f"--sbatch=--comment={comment}")
    done = launched("slurm", *job, *argv, "--submit", **conf)
    assert done.returncode == 0, done.stderr + cluster.logs()
    queue = ("squeue", "--noheader", "--format=%k")
    shown = subprocess.run(
      queue, env=os.environ | conf, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == comment
    # A limit that the cluster makes shorter than a save takes.
    text = (tmp_path / "x" / "job.sbatch").read_text()
    path = tmp_path / "short.sbatch"
    path.write_text(text.replace("#SBATCH --hold\n", "#SBATCH --time=2\n"))
    done = subprocess.run(
      ["sbatch", "--wait", "--export=ALL", str(path)],
      env=os.environ | conf,
      capture_output=True,
      text=True,
      timeout=120,
      check=False,
    )
    logs = "".join(p.read_text() for p in (tmp_path / "x").glob("*.out"))
    subprocess.run(
      ["scancel", "--user=root"], env=os.environ | conf, check=True
    )
  assert done.returncode == 1, logs + done.stderr
  assert "the time limit is 120 seconds" in logs


def test_a_sweep_of_a_real_experiment(tmp_path):
  done = launched(
    "sweep",
    *("--experiment=heads", f"--workdir={tmp_path}"),
    *("--config.train.steps=3", "--config.optimizer.warmup_steps=1"),
    *("--config.seeds=1", "--config.heldout=128"),
    "--sweep=optimizer.peak_learning_rate=1e-3,3e-3",
  )
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "sweep.png").exists()
  assert (tmp_path / "sweep.md").read_text().count("1e-3") == 1
