"""One run at a time in a directory: a second one would undo the first."""

import contextlib
import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

from attnjax.training.processes import from_primary

_LOCK = ".lock"


@contextlib.contextmanager
def alone_in(workdir: Path) -> Iterator[None]:
  """Holds a directory for the processes of this run, until they end.

  The first process has a lock of the file system, which goes with it however
  it ends. Where the file system has none, a warning says so.

  Args:
    workdir: of the run; must exist.

  Raises:
    ValueError: another run holds it; names its process and host.
  """
  with contextlib.ExitStack() as held:
    refusal = from_primary(lambda: _refusal(workdir, held))
    if refusal is not None:
      raise ValueError(refusal)
    yield


def _refusal(workdir: Path, held: contextlib.ExitStack) -> str | None:
  """Takes the lock, or says who has it."""
  path = workdir / _LOCK
  file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
  held.callback(os.close, file)
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    who = os.read(file, 200).decode(errors="replace") or "another process"
    return (
      f"workdir: {who} is training in {workdir}; wait for it, stop it, or name"
      " another --workdir"
    )
  except OSError as error:
    warnings.warn(
      f"workdir: {path} cannot be locked ({error.strerror}): nothing keeps a"
      " second run out of the directory",
      stacklevel=2,
    )
    return None
  os.truncate(file, 0)
  os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
  return None
