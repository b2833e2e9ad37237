"""A sweep that runs here is stopped by real signals, and goes on."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]

# Stands for an experiment: trains until it is stopped, and takes its time to
# save, long enough to be told twice; notes what it heard.
PROGRAM = """
import os, pathlib, signal, sys, time
flags = dict(text.lstrip("-").split("=", 1) for text in sys.argv[1:])
place = pathlib.Path(flags["workdir"])
place.mkdir(parents=True, exist_ok=True)
heard = []
for number in (signal.SIGTERM, signal.SIGINT):
  signal.signal(number, lambda n, _: heard.append(signal.Signals(n).name))
(place / "pid").write_text(str(os.getpid()))
while not heard and not (place.parent / "quick").exists():
  time.sleep(0.01)
patience = time.monotonic() + 20
while heard and "SIGTERM" not in heard and time.monotonic() < patience:
  time.sleep(0.01)
time.sleep(0.5 if heard else 0)
(place / "heard").write_text(" ".join(heard))
(place / "result.json").write_text('{"loss": 1.0}')
sys.exit(75 if heard else 0)
"""

LAUNCHER = """
import sys
from launch.command_line import run
from launch.sweep import __main__ as sweep
from launch.sweep import queues

_, program, *argv = sys.argv
queues.line_here = lambda job: (sys.executable, "-S", program, *job.line()[4:])
run(sweep.program, sweep.define_own, ["sweep", *argv])
"""


@pytest.fixture
def started(tmp_path):
  """Starts a sweep in a session of its own, as a terminal does."""
  (tmp_path / "program.py").write_text(PROGRAM)
  (tmp_path / "launcher.py").write_text(LAUNCHER)

  def start():
    return subprocess.Popen(
      [
        *(sys.executable, str(tmp_path / "launcher.py")),
        *(str(tmp_path / "program.py"), "--experiment=heads"),
        *(f"--workdir={tmp_path / 'sweep'}", "--sweep=seeds=2,3,5"),
        "--at_once=2",
      ],
      env=os.environ | {"PYTHONPATH": str(ROOT)},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )

  return start


def running(place):
  """The numbers of the two processes that train, once they do."""
  deadline = time.monotonic() + 120
  while time.monotonic() < deadline:
    texts = [path.read_text() for path in place.glob("*/pid")]
    if len(texts) == 2 and all(texts):
      return [int(text) for text in texts]
    time.sleep(0.05)
  raise TimeoutError("two points never ran")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 75), ("SIGINT", 130)])
def test_a_stopped_sweep_saves_and_goes_on(tmp_path, started, number, code):
  place = tmp_path / "sweep"
  launcher = started()
  pids = running(place)
  if number == "SIGINT":  # from the keyboard: to all of them
    os.killpg(launcher.pid, signal.SIGINT)
  else:  # from a scheduler: to the launcher alone, and again
    launcher.terminate()
    time.sleep(0.1)
    launcher.terminate()
  _, err = launcher.communicate(timeout=60)
  assert launcher.returncode == code
  for pid in pids:  # no orphans
    with pytest.raises(ProcessLookupError):
      os.kill(pid, 0)
  heard = [path.read_text().split() for path in place.glob("*/heard")]
  assert len(heard) == 2  # no third point began
  for signals in heard:
    assert signals.count("SIGTERM") == 1
    assert set(signals) == {number, "SIGTERM"}
  assert "Traceback" not in err
  assert err.splitlines()[-1] == "stopped: the same command goes on"
  assert err.count("stopped, and saved") == 2
  assert not (place / "finished").exists()
  (place / "quick").touch()
  out, err = (again := started()).communicate(timeout=120)
  assert again.returncode == 0, err
  assert "3 points, 3 left" in err
  assert out.count("|    1 |") == 3
