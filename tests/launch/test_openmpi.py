"""A run of Open MPI that is stopped has the time to save."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from launch.job import Job
from launch.openmpi import command as room
from launch.process_layout import process_layout

TIMEOUT = "odls_base_sigkill_timeout"
ALL = ("train.mesh.data=0",)
JOB = Job("language_model", "tiny", ALL, "cpu:2", 2, place="runs/x")

# Saves for longer than the second that Open MPI gives by itself.
RANK = """
import os, pathlib, signal, sys, time
place, rank = pathlib.Path(sys.argv[1]), os.environ["OMPI_COMM_WORLD_RANK"]
def save(*_):
  time.sleep(2.5)
  (place / f"saved{rank}").touch()
  os._exit(75)
signal.signal(signal.SIGTERM, save)
(place / f"ready{rank}").touch()
while True:
  time.sleep(0.1)
"""


def test_mpirun_waits_for_a_save_and_is_told_once_how_long():
  line = room.command(JOB, process_layout(JOB))
  assert line[line.index(TIMEOUT) - 1 :][:3] == ("--mca", TIMEOUT, "30")
  assert line.index(TIMEOUT) < line.index(sys.executable)
  # mpirun refuses a parameter that comes twice with two values.
  line = room.command(JOB, process_layout(JOB), ("--mca", TIMEOUT, "9"))
  assert line[line.index(TIMEOUT) + 1] == "9"
  assert line.count(TIMEOUT) == 1


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("mpirun"), reason="Open MPI is not here")
def test_sigterm_to_mpirun_lets_the_processes_save(tmp_path, monkeypatch):
  monkeypatch.setattr(room, "PATIENCE", 5)  # 30 would be waited for twice
  options = "--oversubscribe --mca btl self,vader --mca oob_tcp_if_include lo"
  if os.geteuid() == 0:
    options += " --allow-run-as-root"
  line = room.command(JOB, process_layout(JOB), options.split())
  start = line[: line.index(sys.executable)]
  program = (sys.executable, "-S", "-c", RANK, str(tmp_path))
  with subprocess.Popen([*start, *program]) as mpirun:
    deadline = time.monotonic() + 60
    while len([*tmp_path.glob("ready*")]) < 2:
      assert time.monotonic() < deadline
      time.sleep(0.1)
    mpirun.send_signal(signal.SIGTERM)
    assert mpirun.wait(60) == 1  # its own code; those of the processes were 75
  assert {path.name for path in tmp_path.glob("saved*")} == {"saved0", "saved1"}
