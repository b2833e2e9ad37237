"""Runs the processes of one run on this machine; all end together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attnjax.training.interruption import EXIT_CODE
from launch.environment import merge_environment
from launch.job import ROOT, Job
from launch.process_layout import ProcessLayout

__all__ = ["environments", "line_here", "run_together"]

# Who has lost another process says so and leaves after `lost_seconds`, 30.
_PATIENCE = 45.0


def line_here(job: Job) -> tuple[str, ...]:
  """The command of a job, run by this process's Python interpreter."""
  return job.line(sys.executable)


def environments(layout: ProcessLayout, port: int) -> list[dict[str, str]]:
  """Environment variables to add for each process.

  Args:
    layout: on one machine.
    port: of the first process.

  Raises:
    ValueError: the topology has more hosts than this one.

  >>> from launch.process_layout import ProcessLayout
  >>> environments(ProcessLayout(None, 1, 1), port=8476)
  [{}]
  """
  if layout.platform != "cpu" and layout.hosts > 1:
    raise ValueError(
      f"topology: this is one machine, got {layout.hosts} hosts; python -m"
      " launch.slurm, tpu_pod, gke or sky run on several"
    )
  if layout.processes == 1:
    return [layout.environment()]

  # Bound to loopback too: else other machines could reach the coordinator.
  address = f"127.0.0.1:{port}"
  shared = layout.environment() | {
    "JAX_COORDINATOR_ADDRESS": address,
    "JAX_COORDINATOR_BIND_ADDRESS": address,
    "JAX_NUM_PROCESSES": str(layout.processes),
  }
  return [
    shared | {"JAX_PROCESS_ID": str(index)} for index in range(layout.processes)
  ]


def run_together(
  line: Sequence[str],
  layout: ProcessLayout,
  output: Any = None,
  stopping: Callable[[], bool] | None = None,
) -> int:
  """Runs a command once a process, and waits for all of them.

  SIGTERM is forwarded; the terminal sends Ctrl-C to all of them. Where one
  fails with another code than 75, the others have 45 seconds to report it, and
  are killed then.

  Args:
    line: the command.
    layout: has the number of processes.
    output: a file for their output; None is that of this process.
    stopping: polled, and all get SIGTERM once it returns true; for a thread,
      which receives no signals. None, in the main thread: a handler of SIGTERM
      is installed.

  Returns:
    The exit code of the first that failed; 0 where none did.
  """
  ran = [
    subprocess.Popen(
      line,
      cwd=ROOT,
      env=merge_environment(os.environ, extra),
      stdout=output,
      stderr=output,
    )
    for extra in environments(layout, _free_port())
  ]
  previous: Mapping[int, Any] = {}

  try:
    if stopping is None:
      previous = _forward_sigterm(ran)
    return _wait_for_all(ran, stopping)
  finally:
    # A process that has ended is not harmed; none outlives this one.
    for process in ran:
      process.kill()
      process.wait()
    for number, handler in previous.items():
      signal.signal(number, handler)


def _wait_for_all(
  ran: Sequence[subprocess.Popen], stopping: Callable[[], bool] | None
) -> int:
  """Waits until all have ended, or one has failed and the others hang."""
  first, deadline = 0, float("inf")
  while any(process.poll() is None for process in ran):
    if stopping is not None and stopping():
      stopping = None  # once is enough
      _send_signal(ran, signal.SIGTERM)
    failed = [process.returncode for process in ran if process.returncode]
    if failed and not first:
      first = failed[0]
      if first != EXIT_CODE:  # else the others are saving what it saved
        deadline = time.monotonic() + _PATIENCE
    if time.monotonic() > deadline:
      return _exit_code(first)
    # Polled, for there is no portable wait for the first of several.
    time.sleep(0.05)

  return _exit_code(
    first or next((p.returncode for p in ran if p.returncode), 0)
  )


def _exit_code(returned: int) -> int:
  """Exit code as of a shell: 128 + signal for a killed process."""
  return 128 - returned if returned < 0 else returned


def _forward_sigterm(ran: Sequence[subprocess.Popen]) -> Mapping[int, Any]:
  """Forwards SIGTERM; leaves Ctrl-C to the processes, which save first."""
  return {
    # Ignored here: a terminal sends Ctrl-C to the processes as well, and this
    # one has to wait for them.
    signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
    signal.SIGTERM: signal.signal(
      signal.SIGTERM, lambda number, frame: _send_signal(ran, number)
    ),
  }


def _send_signal(ran: Sequence[subprocess.Popen], number: int) -> None:
  """Sends a signal to the processes that still run."""
  for process in ran:
    process.send_signal(number)


def _free_port() -> int:
  """A free TCP port."""
  # Free now: another program may still take it before process 0 does.
  with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    return listener.getsockname()[1]
