"""The directory of a run: it belongs to one experiment with one config."""

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
from attnjax.training.processes import differences, from_primary

__all__ = ["alone_in", "claim", "lacking", "probe_workdir", "write_durably"]

_CONFIG = "config.json"


def claim(
  workdir: str | Path, experiment: str, config: Mapping[str, Any]
) -> Path:
  """Makes a directory that of a run, or makes sure that it already is.

  The first time `config.json` is written, atomically. Later its content has
  to be the same, so that no run goes on from another one's checkpoints.

  Args:
    workdir: made if need be; relative to the working directory.
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
  asked = _normal({"experiment": experiment, "config": config})
  try:
    path.mkdir(parents=True, exist_ok=True)
    if not (path / _CONFIG).exists():
      _refuse_orphans(path)
      _write(path / _CONFIG, asked)
      return path
    text = (path / _CONFIG).read_bytes()
  except OSError as error:
    raise ValueError(
      f"workdir: {error.filename or path} cannot be used ({error.strerror}); "
      "name a --workdir that can be written"
    ) from error

  _compare(path, _parse(path, text), asked)
  return path


def _parse(path: Path, text: bytes) -> dict[str, Any]:
  """What config.json says, or an error that tells why it says nothing."""
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


def _compare(path: Path, stored: Any, asked: Any) -> None:
  """Raises where the stored config is not the one asked for."""
  differ = differences(stored, asked)
  if differ:
    raise ValueError(
      f"workdir: {path} belongs to another run: {', '.join(differ)}. Name "
      "another --workdir, or the same config"
    )


def _normal(config: Mapping[str, Any]) -> Any:
  """The config as it comes back from JSON: a tuple is a list there."""
  try:
    return json.loads(json.dumps(config))
  except (TypeError, ValueError) as error:
    raise ValueError(
      f"config: expected a nested dict of what JSON can hold: {error}"
    ) from error


def _refuse_orphans(path: Path) -> None:
  """Raises where there are checkpoints that no config tells anything about."""
  for pattern in ("*/digests.json", "*/*/digests.json"):
    for found in sorted(path.glob(pattern)):
      raise ValueError(
        f"workdir: {path} has no {_CONFIG} but a checkpoint, {found.parent}: "
        f"nobody can tell whose. Put its {_CONFIG} back, or name another "
        "--workdir"
      )


def _write(path: Path, content: Any) -> None:
  """Writes JSON so that the file is whole or not there."""
  # Several processes of one run, on several hosts, may come here at once.
  temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
  try:
    write_durably(temporary, "w", json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def write_durably(path: Path, mode: str, text: str) -> None:
  """Writes or appends text, and waits until the disk has it."""
  with path.open(mode, encoding="utf-8") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


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


def probe_workdir(directory: str | Path) -> None:
  """Tries in a directory what a run does there, and leaves nothing behind.

  A checkpoint gets its name by the rename of a directory, and a resumed run
  appends to its records. Buckets that are mounted cannot do all of it: better
  to hear so before training than at the first save.

  Args:
    directory: made if need be. Of several processes the first one tries.

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
  refusal = from_primary(lambda: lacking(path))
  if refusal is not None:
    raise ValueError(refusal)


def lacking(path: Path) -> str | None:
  """What a run needs and a directory cannot do, or None.

  It asks no JAX, which would take the devices of this machine.

  Args:
    path: made if need be; nothing else is left behind.
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
  """What a place lacks, and what to do."""
  return (
    f"workdir: {path} cannot {what} ({why}), which checkpoints and records"
    " need; name a --workdir on a disk, or mount the bucket so that it can"
    " (gcsfuse: rename-dir-limit above 0, or a bucket with hierarchical"
    " namespace; goofys has no append, s3fs and JuiceFS do)"
  )
