"""Processes of one run on loopback, started together and ended together."""

import socket
import subprocess
import sys

from tests.children import ROOT, environment


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
    bound = {"JAX_COORDINATOR_BIND_ADDRESS": address}
    self.ran = [
      subprocess.Popen(
        [sys.executable, *map(str, one)],
        cwd=ROOT,
        env=environment(devices, **bound),
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
