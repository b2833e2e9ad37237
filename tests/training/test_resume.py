"""Real processes, real signals: a run that was killed equals one that was not.

The program is `regression_run.py` beside this file, with real checkpoints.
"""

import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attnjax.training import metrics
from tests.children import environment

PROGRAM = Path(__file__).with_name("regression_run.py")
STEPS = 60
LIMIT = 600  # seconds for a process that takes 4, where others take the cores


def start(workdir, *flags):
  """The program in a process of its own."""
  return subprocess.Popen(
    [sys.executable, str(PROGRAM), str(workdir), *flags],
    env=environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  """Waits for the end: exit code, what it said last, and its messages."""
  out, err = process.communicate(timeout=LIMIT)
  return process.returncode, out, err


def records(workdir):
  """Every record without what depends on the clock."""
  found = metrics.read_metrics(Path(workdir) / "metrics.jsonl")
  return [
    {k: v for k, v in record.items() if k != "tokens_per_second"}
    for record in found
  ]


def last_step(workdir):
  """The last step recorded, of a file that another process is writing."""
  path = Path(workdir) / "metrics.jsonl"
  text = path.read_text() if path.exists() else ""
  found = re.findall(r'^{"step": (\d+), "split": "train"', text, re.MULTILINE)
  return max(map(int, found), default=0)


def signal_after(process, workdir, step, number):
  """Sends a signal at a random moment after a step that is still to come."""
  step = max(step, last_step(workdir) + 1)
  deadline = time.monotonic() + LIMIT
  while process.poll() is None and time.monotonic() < deadline:
    if last_step(workdir) >= step:
      break
    time.sleep(0.005)
  time.sleep(random.uniform(0, 0.2))
  assert process.poll() is None, process.communicate()
  process.send_signal(number)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  """Records and last words of a run that nobody disturbed."""
  workdir = tmp_path_factory.mktemp("unbroken")
  code, out, err = finish(start(workdir))
  assert code == 0, err
  found = records(workdir)
  losses = [r["loss"] for r in found if r["split"] == "eval"]
  assert len(losses) == 9
  assert losses[-1] < 0.5 * losses[0]
  return found, out


def disturb(workdir, step, number):
  """Starts the program, ends it by a signal; checks how it went."""
  process = start(workdir, "--pause=0.05")
  signal_after(process, workdir, step, number)
  code, out, err = finish(process)
  assert out == ""
  assert "Traceback" not in err
  if number == signal.SIGKILL:
    assert code == -signal.SIGKILL
    # What a kill in the middle of a write leaves.
    with (workdir / "metrics.jsonl").open("a") as file:
      file.write('{"step": 99, "split": "tr')
    return
  assert code == 75
  name, stopped = signal.Signals(number).name, records(workdir)[-1]["step"]
  assert stopped >= step
  assert f"stopped by {name} after step {stopped} of {STEPS}, which is" in err
  assert (workdir / "checkpoints" / str(stopped)).is_dir()


def goes_on_to_the_same_end(workdir, unbroken):
  """Whether the program, left alone now, ends as if never disturbed."""
  code, out, err = finish(start(workdir))
  assert code == 0, err
  assert "resuming after step" in err
  assert records(workdir) == unbroken[0]
  assert out == unbroken[1]


@pytest.mark.slow
def test_killed_stopped_and_killed_again(tmp_path, unbroken):
  disturb(tmp_path, 9, signal.SIGKILL)
  disturb(tmp_path, 23, signal.SIGTERM)
  disturb(tmp_path, 41, signal.SIGKILL)
  goes_on_to_the_same_end(tmp_path, unbroken)


@pytest.mark.slow
def test_disturbed_many_times_at_random(tmp_path, unbroken):
  numbers = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
  for step in range(2, 50, 8):
    disturb(tmp_path, step, random.choice(numbers))
  goes_on_to_the_same_end(tmp_path, unbroken)


@pytest.mark.slow
def test_preempted_under_jax_distributed(tmp_path, unbroken):
  # JAX swallows SIGTERM then: without its service the run would go on.
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    coordinator = f"--coordinator=127.0.0.1:{free.getsockname()[1]}"
  process = start(tmp_path, "--pause=0.1", coordinator)
  signal_after(process, tmp_path, 3, signal.SIGTERM)
  code, _, err = finish(process)
  assert code == 75, err
  assert "stopped by preemption after step" in err
  goes_on_to_the_same_end(tmp_path, unbroken)
