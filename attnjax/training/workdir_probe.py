"""What a run does in its directory, tried there before the first step."""

import os
import shutil
import uuid
from pathlib import Path

from attnjax.config import check_local
from attnjax.training.processes import from_primary
from attnjax.training.workdir import write_durably

__all__ = ["lacking", "probe_workdir"]


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
