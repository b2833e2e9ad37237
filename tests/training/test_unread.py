"""A run whose reader leaves, whose terminal closes, or whose disk is small."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from attnjax.config import Unread
from attnjax.training import Progress, Throughput
from tests.children import environment

PROGRAM = Path(__file__).with_name("regression_run.py")


class Left(io.StringIO):
  """A stream whose reader has left."""

  def __init__(self, number):
    super().__init__()
    self.number = number

  def write(self, text=""):
    raise OSError(self.number, os.strerror(self.number))

  flush = write


@pytest.mark.parametrize("number", [32, 5])
def test_a_reader_that_left_ends_nothing(number):
  stream = Unread(Left(number))
  print("step 1", file=stream, flush=True)
  stream.writelines(["step 2", "step 3"])
  with Progress(3, stream=Left(number)) as progress:
    progress.update(1, 2.5, Throughput())
    progress.say("text")


def test_another_error_of_a_stream_is_told():
  with pytest.raises(OSError, match="No space left"):
    print("step 1", file=Unread(Left(28)), flush=True)


def run(command, **more):
  """A command of a shell, and what it said."""
  return subprocess.run(
    ["bash", "-c", command],
    capture_output=True,
    text=True,
    env=environment(**more),
    timeout=120,
    check=False,
  )


def steps_of(workdir):
  """The steps recorded."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  found = map(json.loads, lines)
  return [line["step"] for line in found if line["split"] == "train"]


@pytest.mark.slow
def test_a_run_read_by_head_trains_to_its_end(tmp_path):
  done = run(
    f"set -o pipefail; {sys.executable} {PROGRAM} {tmp_path} 2>&1 | head -n 1"
  )
  assert done.stdout.startswith("no checkpoint: starting at step 0")
  assert steps_of(tmp_path) == list(range(1, 61))
  assert (tmp_path / "checkpoints" / "60").exists()


@pytest.mark.slow
def test_an_experiment_read_by_head_ends_with_code_0(tmp_path):
  """Prints of the experiment itself, and of Python as it ends."""
  script = tmp_path / "demo.py"
  script.write_text(
    "import dataclasses, pathlib\n"
    "from attnjax.config import run, setting\n"
    "@dataclasses.dataclass(frozen=True)\n"
    "class Demo:\n"
    "  lines: int = setting(9, 'to print')\n"
    "def main(config, workdir):\n"
    "  for n in range(100_000):\n"
    "    print('a line of some length', n)\n"
    f"  pathlib.Path({str(tmp_path / 'end')!r}).touch()\n"
    "run(main, {'tiny': Demo}, experiment='demo')\n"
  )
  done = run(
    f"{sys.executable} {script} 2>{tmp_path}/err | head -n 1;"
    " exit ${PIPESTATUS[0]}"
  )
  assert (tmp_path / "err").read_text() == ""
  assert done.stdout == "preset = tiny\n"
  assert (tmp_path / "end").exists()
  assert done.returncode == 0


@pytest.mark.slow
def test_a_hangup_saves_and_the_same_command_goes_on(tmp_path):
  # What runs the tests may ignore it, as nohup does, and so its children. Not
  # by `preexec_fn`, which forks: JAX warns of that where it has threads.
  listens = (
    "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL);"
    " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
  )
  with subprocess.Popen(
    [sys.executable, "-c", listens, PROGRAM, tmp_path, "--pause=0.1"],
    stderr=subprocess.PIPE,
    text=True,
    env=environment(),
  ) as child:
    for line in child.stderr:
      if line.startswith("step "):
        break
    child.send_signal(signal.SIGHUP)
    rest = child.stderr.read()
  assert child.returncode == 75
  assert "stopped by SIGHUP after step" in rest
  assert steps_of(tmp_path)[-1] < 60
  assert any((tmp_path / "checkpoints").iterdir())


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_one_sentence(tmp_path):
  """The real disk of a real process, with a limit of 2 KiB a file."""
  done = run(f"ulimit -f 2; {sys.executable} {PROGRAM} {tmp_path}")
  last = done.stderr.strip().splitlines()[-1]
  assert last.startswith("OSError: cannot ")
  assert f"{tmp_path}" in last
  assert "File too large; allow larger files there (ulimit -f), or" in last
  assert done.stderr.count("Traceback") == 1  # of Python, and none of Orbax
