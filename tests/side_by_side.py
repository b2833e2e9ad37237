"""Processes of one run on loopback, started together and ended together."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def free_address():
  """One of this machine that nobody listens on now."""
  with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{listener.getsockname()[1]}"


class SideBySide:
  """One process a list of arguments, all killed when the context is left.

  Args:
    address: of the coordinator, from `free_address`.
    arguments: of Python, of each process.
    devices: CPU devices of each.
  """

  def __init__(self, address, arguments, devices=4):
    environment = os.environ | {
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
      "JAX_COORDINATOR_BIND_ADDRESS": address,
      "PYTHONPATH": str(ROOT),
    }
    self.ran = [
      subprocess.Popen(
        [sys.executable, *map(str, one)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
      )
      for one in arguments
    ]

  def __enter__(self):
    return self

  def __exit__(self, *_):
    for process in self.ran:
      process.kill()
      process.communicate()

  def __getitem__(self, index):
    return self.ran[index]

  def ends(self, *indices):
    """(exit code, standard output, standard error) of each."""
    found = []
    for index in indices:
      out, err = self.ran[index].communicate(timeout=400)
      found.append((self.ran[index].returncode, out, err))
    return found
