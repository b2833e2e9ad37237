"""What the user has set stays: the launcher's flags of XLA come after."""

import itertools
import shlex
import subprocess
import sys

import pytest

from launch.job import Job
from launch.local.processes import run_together
from launch.openmpi.command import command
from launch.process_layout import process_layout
from launch.slurm.script import array_script, script

ALL = ("train.mesh.data=0", "data.batch_size=384")
JOB = Job("language_model", overrides=ALL, topology="cpu:6", processes=2)
OURS = "--xla_force_host_platform_device_count=3"
USERS = "--xla_cpu_enable_fast_math=false --xla_dump_to=/a'b"


def of_local(job, tmp_path):
  program = "import os; print(os.environ['XLA_FLAGS'])"
  with open(tmp_path / "out", "w") as out:
    line = (sys.executable, "-S", "-c", program)
    assert run_together(line, process_layout(job), out) == 0
  return (tmp_path / "out").read_text().splitlines()


def of_slurm(job, tmp_path):
  layout = process_layout(job, process_a_gpu=True)
  texts = (
    script(job, layout),
    "SLURM_ARRAY_TASK_ID=0\n" + array_script([job], layout, tmp_path),
  )
  shown = 'srun() { printf "%s\\n" "$XLA_FLAGS"; }\n'
  return [
    subprocess.run(
      ["bash", "-c", shown + text], capture_output=True, text=True, check=True
    ).stdout.strip()
    for text in texts
  ]


def of_openmpi(job, tmp_path):
  line = command(job, process_layout(job, process_a_gpu=True))
  given = dict(
    text.split("=", 1) for x, text in itertools.pairwise(line) if x == "-x"
  )
  return [given["XLA_FLAGS"]]


@pytest.mark.parametrize("place", [of_local, of_slurm, of_openmpi])
def test_flags_of_xla_are_added_to_those_of_the_user(
  tmp_path, monkeypatch, place
):
  job = Job(**{**vars(JOB), "place": str(tmp_path)})
  for users, found in ((USERS, f"{USERS} {OURS}"), ("", OURS), (None, OURS)):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if users is not None:
      monkeypatch.setenv("XLA_FLAGS", users)
    assert {text.strip() for text in place(job, tmp_path)} == {found}


def test_mpirun_hands_the_users_flags_on_to_hosts_of_gpus(monkeypatch):
  job = Job(**{**vars(JOB), "topology": "h100:16", "processes": None})
  monkeypatch.setenv("XLA_FLAGS", USERS)
  line = command(job, process_layout(job, process_a_gpu=True))
  assert line[line.index("-x") + 1] == f"XLA_FLAGS={USERS}"
  monkeypatch.delenv("XLA_FLAGS")
  assert "-x" not in command(job, process_layout(job, process_a_gpu=True))


def test_what_the_topology_says_counts():
  program = (
    "import os; os.environ['XLA_FLAGS'] ="
    f" '--xla_force_host_platform_device_count=5 {OURS}';"
    "import jax; print(jax.device_count())"
  )
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "3"


@pytest.mark.parametrize(
  ("option", "why"),
  [
    ("-x XLA_FLAGS=--a=1", "XLA_FLAGS is set by the line already"),
    ("--wdir /tmp", "a job runs in the checkout, got --wdir"),
    ("-wdir /tmp", "a job runs in the checkout, got -wdir"),
    ("--hostfile 'hosts", "close the quote"),
  ],
)
def test_an_option_of_mpirun_that_would_be_lost_is_refused(
  launcher, option, why
):
  argv = ("--experiment=heads", "--topology=cpu:1", f"--mpirun={option}")
  code, out, err = launcher("openmpi", *argv)
  assert (code, out) == (1, "")
  assert "error: mpirun: " in err
  assert why in err


def test_files_of_mpirun_are_those_of_the_caller(
  tmp_path, monkeypatch, stubs, launcher
):
  monkeypatch.chdir(tmp_path)
  stubs.add("mpirun")
  argv = ("--experiment=heads", "--topology=cpu:1", "--mpirun=--hostfile hosts")
  code, out, _ = launcher("openmpi", *argv)
  assert code == 0
  words = shlex.split(out)
  # mpirun runs here, and the processes in the checkout.
  assert words[words.index("--hostfile") + 1] == "hosts"
  assert words[words.index("--wdir") + 1].endswith(
    str(__file__).rsplit("/tests/", 1)[0]
  )


def test_a_coordinator_is_checked_as_the_setting_it_is(launcher):
  argv = ("--experiment=language_model", "--topology=cpu:1")
  code, out, err = launcher("openmpi", *argv, "--coordinator=first")
  assert (code, out) == (1, "")
  assert "processes.coordinator: expected host:port, got 'first'" in err
  out = launcher("openmpi", *argv, "--coordinator=first:8476")[1]
  name = "--config.train.processes.coordinator=first:8476"
  assert name in shlex.split(out)
