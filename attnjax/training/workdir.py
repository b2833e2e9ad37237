"""The directory of a run: its identity, its lock, and a test of the disk."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attnjax.config import check_local
from attnjax.moved import forward_names
from attnjax.training.processes import differences, from_primary

__all__ = [
  "claim",
  "missing_ability",
  "probe_workdir",
  "workdir_lock",
  "write_durably",
]

_CONFIG = "config.json"


def claim(
  workdir: str | Path, experiment: str, config: Mapping[str, Any]
) -> Path:
  """Binds a directory to one experiment and config, or checks the binding.

  The first call writes `config.json`, atomically. Later calls require the same
  content, so that no run resumes from another run's checkpoints.

  Args:
    workdir: made if it does not exist; relative to the working directory.
    experiment: name of the experiment.
    config: its resolved config, a nested dict of what JSON can hold.

  Returns:
    The absolute path.

  Raises:
    ValueError: it is the address of a bucket, belongs to another run (names
      each leaf that differs), its `config.json` cannot be read, or it cannot
      be written.

  >>> import tempfile
  >>> path = claim(tempfile.mkdtemp(), "copy", {"model": {"depth": 2}})
  >>> claim(path, "copy", {"model": {"depth": 2}}) == path
  True
  >>> claim(path, "copy", {"model": {"depth": 3}})
  Traceback (most recent call last):
  ValueError: workdir: ... belongs to another run: config.model.depth is 2
  there and 3 here. Name another --workdir, or the same config
  """
  check_local(workdir, "workdir")
  path = Path(workdir).resolve()
  asked = _through_json({"experiment": experiment, "config": config})
  try:
    path.mkdir(parents=True, exist_ok=True)
    if not (path / _CONFIG).exists():
      _refuse_orphans(path)
      _write_json(path / _CONFIG, asked)
      return path
    text = (path / _CONFIG).read_bytes()
  except OSError as error:
    raise ValueError(
      f"workdir: {error.filename or path} cannot be used ({error.strerror}); "
      "name a --workdir that can be written"
    ) from error

  differ = differences(_parse(path, text), asked)
  if differ:
    raise ValueError(
      f"workdir: {path} belongs to another run: {', '.join(differ)}. Name "
      "another --workdir, or the same config"
    )

  return path


def _parse(path: Path, text: bytes) -> dict[str, Any]:
  """The content of `config.json`; refuses a file that no run wrote."""
  try:
    stored = json.loads(text)
    if stored.keys() == {"experiment", "config"}:
      return stored
    why = "its keys are not experiment and config"
  except (ValueError, AttributeError) as error:
    why = str(error)

  raise ValueError(
    f"workdir: {path / _CONFIG} is not what a run wrote ({why}); put it back, "
    "or name another --workdir"
  )


def _through_json(config: Mapping[str, Any]) -> Any:
  """The config after a round trip through JSON, which makes tuples lists."""
  try:
    return json.loads(json.dumps(config))
  except (TypeError, ValueError) as error:
    raise ValueError(
      f"config: expected a nested dict of what JSON can hold: {error}"
    ) from error


def _refuse_orphans(path: Path) -> None:
  """Refuses a directory that has checkpoints and no `config.json`."""
  # Checkpoints lie one or two levels below the directory of a run.
  for pattern in ("*/digests.json", "*/*/digests.json"):
    for found in sorted(path.glob(pattern)):
      raise ValueError(
        f"workdir: {path} has no {_CONFIG} but a checkpoint, {found.parent}: "
        f"nobody can tell whose. Put its {_CONFIG} back, or name another "
        "--workdir"
      )


def _write_json(path: Path, content: Any) -> None:
  """Writes JSON atomically."""
  # A name of its own for each writer, for several processes of one run, on
  # several hosts, may write at once.
  temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
  try:
    write_durably(temporary, "w", json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def write_durably(path: Path, mode: str, text: str) -> None:
  """Writes (`w`) or appends (`a`) text and waits for the disk (fsync)."""
  with path.open(mode, encoding="utf-8") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


_LOCK = ".lock"


@contextlib.contextmanager
def workdir_lock(workdir: Path) -> Iterator[None]:
  """Exclusive lock of a run's directory, held while the context is open.

  Process 0 takes an `flock`, which the system releases however the process
  ends. A file system without locks gives a warning.

  Args:
    workdir: of the run; must exist.

  Raises:
    ValueError: another run holds it; names its process and host.
  """
  with contextlib.ExitStack() as held:
    refusal = from_primary(lambda: _try_lock(workdir, held))
    if refusal is not None:
      raise ValueError(refusal)
    yield


def _try_lock(workdir: Path, held: contextlib.ExitStack) -> str | None:
  """Takes the lock; returns an error message where another run has it."""
  path = workdir / _LOCK
  # Without O_TRUNC: the name of the process that holds the lock is in it.
  file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
  # The open descriptor holds the lock; closing it releases it.
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

  # For the message of another run that tries to take the lock.
  os.truncate(file, 0)
  os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
  return None


def probe_workdir(directory: str | Path) -> None:
  """Tests the file operations of a run in a directory; leaves nothing behind.

  Checkpoints are committed by the rename of a directory, and a resumed run
  appends to its records. Not every mounted bucket can do both: this finds it
  out before training and not at the first save.

  Args:
    directory: made if it does not exist. Process 0 alone tests it.

  Raises:
    ValueError: names what the place cannot do, and the remedy.

  >>> from pathlib import Path
  >>> import tempfile
  >>> folder = Path(tempfile.mkdtemp())
  >>> probe_workdir(folder)
  >>> list(folder.iterdir())
  []
  """
  check_local(directory, "workdir")
  path = Path(directory).resolve()
  refusal = from_primary(lambda: missing_ability(path))
  if refusal is not None:
    raise ValueError(refusal)


def missing_ability(path: Path) -> str | None:
  """Error message for the first operation that a directory lacks, or None.

  Calls nothing of JAX, which would take the devices of this machine.

  Args:
    path: made if it does not exist; nothing else is left behind.
  """
  probe = path / f".probe-{uuid.uuid4().hex}"
  what = "make a directory"
  try:
    (probe / "before").mkdir(parents=True)
    what = "write a file and wait until it is on the disk"
    file = probe / "before" / "file"
    write_durably(file, "w", "one\n")
    what = "append to a file"
    write_durably(file, "a", "two\n")

    if file.read_text(encoding="utf-8") != "one\ntwo\n":
      return _cannot(path, what, "what was appended is not there")

    # Not empty, as a checkpoint is not when it is committed.
    what = "rename a directory that is not empty"
    os.rename(probe / "before", probe / "after")

    if (probe / "before").exists() or not (probe / "after" / "file").exists():
      return _cannot(path, what, "a part of it is left behind")
  except OSError as error:
    return _cannot(path, what, error.strerror or str(error))
  finally:
    shutil.rmtree(probe, ignore_errors=True)

  return None


def _cannot(path: Path, what: str, why: str) -> str:
  """Error message for one operation that fails."""
  return (
    f"workdir: {path} cannot {what} ({why}), which checkpoints and records"
    " need; name a --workdir on a disk, or mount the bucket so that it can"
    " (gcsfuse: rename-dir-limit above 0, or a bucket with hierarchical"
    " namespace; goofys has no append, s3fs and JuiceFS do)"
  )


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
