"""Real processes on loopback: preempted, killed, frozen, at odds, resized.

The program is `process_run.py` beside this file: four devices a process.
"""

import json
import re
import signal
import time
from pathlib import Path

import decoder_run
import jax
import mesh_run
import numpy as np
import pytest

from attnjax.runs import MeshConfig
from attnjax.training import processes
from tests.side_by_side import SideBySide, free_address

PROGRAM = Path(__file__).with_name("process_run.py")


class Processes(SideBySide):
  """Two processes of one run of `process_run.py`."""

  def __init__(self, workdir, *flags, own=((), ())):
    self.workdir = workdir
    address = free_address()
    shared = [PROGRAM, workdir, *flags, f"--coordinator={address}", "--count=2"]
    super().__init__(
      address,
      [[*shared, f"--index={index}", *own[index]] for index in range(2)],
    )

  def after(self, step):
    """Waits until the log has a step."""
    path, deadline = self.workdir / "metrics.jsonl", time.monotonic() + 400
    while time.monotonic() < deadline:
      text = path.read_text() if path.exists() else ""
      if max(map(int, re.findall(r'"step": (\d+)', text)), default=0) >= step:
        return
      for process in self.ran:
        assert process.poll() is None, process.communicate()
      time.sleep(0.02)
    raise TimeoutError(f"no step {step}")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  """The losses of a run on one device that nobody disturbed."""
  workdir = tmp_path_factory.mktemp("unbroken")
  mesh_run.fit(workdir, MeshConfig())
  return mesh_run.losses(workdir)


def saved(workdir):
  """The steps that are saved, without what a kill left half-written."""
  names = [path.name for path in (workdir / "checkpoints").iterdir()]
  return sorted(int(name) for name in names if name.isdecimal())


@pytest.mark.slow
def test_preempted_in_one_of_two_and_gone_on_alone(tmp_path, unbroken):
  with Processes(tmp_path, "--pause=0.2", "--fsdp=4") as two:
    two.after(2)
    two[1].send_signal(signal.SIGTERM)
    first, second = two.ends(0, 1)
  assert (first[0], second[0]) == (75, 75), first[2] + second[2]
  stopped = saved(tmp_path)[-1]
  assert f"stopped by preemption after step {stopped} of 12" in first[2]
  assert "stopped by" not in second[2]  # one process speaks
  # One process with eight devices goes on, on another mesh.
  mesh_run.fit(tmp_path, MeshConfig(data=2, fsdp=2, tensor=2))
  assert mesh_run.losses(tmp_path) == pytest.approx(unbroken, rel=1e-5)


@pytest.mark.slow
def test_losses_of_twenty_steps_agree_in_two_processes():
  alone, _ = decoder_run.train()
  address = free_address()
  commands = [[decoder_run.__file__, address, index] for index in range(2)]
  with SideBySide(address, commands) as two:
    (code, out, err), (other, _, said) = two.ends(0, 1)
  assert (code, other) == (0, 0), err + said
  found = json.loads(out.splitlines()[-1])  # Gloo speaks before
  assert len(found) == len(decoder_run.SHARED)
  for losses in found:
    np.testing.assert_allclose(losses, alone, rtol=1e-5)


def test_errors_that_come_of_a_lost_process_end_this_one(monkeypatch, capsys):
  def leave(code):
    raise SystemExit(code)

  monkeypatch.setattr(processes, "leave", leave)
  lost = jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed\nmore")
  full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
  for count, error, cause, expected in [
    (1, lost, None, type(lost)),
    (2, lost, None, SystemExit),
    (2, TimeoutError("commit barrier"), lost, SystemExit),  # of Orbax
    (2, TimeoutError("commit barrier"), None, TimeoutError),
    (2, full, None, type(full)),
  ]:
    monkeypatch.setattr(jax, "process_count", lambda count=count: count)
    with pytest.raises(expected), processes.exit_when_peer_lost():
      raise error from cause
    said = capsys.readouterr().err
    assert ("(UNKNOWN: Gloo all-reduce failed)" in said) == (
      expected is SystemExit
    )


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_killed_in_one_of_two(tmp_path, unbroken, victim):
  with Processes(tmp_path, "--pause=0.3", "--lost=10") as two:
    two.after(6)
    two[victim].kill()
    killed = time.monotonic()
    [(code, out, err)] = two.ends(1 - victim)
    seconds = time.monotonic() - killed
  assert seconds < 60  # it is 10 and some, where nothing else runs
  assert "done" not in out
  # It exits where an exchange fails; where it waits for a save to end there is
  # none, and JAX aborts it after ten seconds without a sign of life. Or Gloo
  # does: a device whose exchange failed begins its next one, and another device
  # here, still in the last, gets as many bytes as the next has.
  said = {
    75: ["another process of this run stopped"],
    -signal.SIGABRT: ["another task", "gloo::EnforceNotMet"],
  }
  assert any(words in err for words in said.get(code, ())), (code, err)
  last = saved(tmp_path)[-1]
  assert last in (4, 5, 8)
  with Processes(tmp_path) as two:
    (code, _, err), (other, _, _) = two.ends(0, 1)
  assert (code, other) == (0, 0), err
  assert f"resuming after step {last}" in err
  assert mesh_run.losses(tmp_path) == pytest.approx(unbroken, rel=1e-5)


@pytest.mark.slow
def test_a_frozen_process_is_noticed_in_bounded_time(tmp_path):
  with Processes(tmp_path, "--pause=0.3", "--lost=5") as two:
    two.after(3)
    two[1].send_signal(signal.SIGSTOP)
    frozen = time.monotonic()
    [(code, _, err)] = two.ends(0)
    seconds = time.monotonic() - frozen
  assert code != 0
  assert seconds < 60  # it is 5 and some, where nothing else runs
  assert "heartbeat" in err


@pytest.mark.slow
def test_processes_that_disagree_both_say_so(tmp_path):
  own = ((), ("--fsdp=2",))
  with Processes(tmp_path / "run", own=own) as two:
    ends = two.ends(0, 1)
  for code, _, err in ends:
    assert code == 1, err
    assert (
      "error: fit: the processes of this run disagree: mesh.fsdp is 1 in"
      " process 0 and 2 in process 1"
    ) in err
  assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_one_process_becomes_two(tmp_path, unbroken):
  with pytest.raises(SystemExit):
    mesh_run.fit(tmp_path, MeshConfig(fsdp=8), Stopping(at=5))
  with Processes(tmp_path, "--fsdp=2") as two:
    for code, _, err in two.ends(0, 1):
      assert code == 0, err
  assert mesh_run.losses(tmp_path) == pytest.approx(unbroken, rel=1e-5)


@pytest.mark.slow
def test_a_process_that_never_comes(tmp_path):
  with Processes(tmp_path, "--join=5") as two:
    two[1].kill()
    [(code, _, err)] = two.ends(0)
  assert code != 0
  assert "joining the others at 127.0.0.1" in err
  assert "for 5 seconds at most" in err


class Stopping(mesh_run.Batches):
  """The same batches; before one of them somebody asks the run to stop."""

  def __init__(self, at):
    super().__init__()
    object.__setattr__(self, "at", at)

  def __call__(self, step):
    if step == self.at:
      signal.raise_signal(signal.SIGTERM)
    return super().__call__(step)
