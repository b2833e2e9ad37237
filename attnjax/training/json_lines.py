"""A file of records, one JSON object a line: the source of truth of a run.

A record is one line, `{"step": 30, "split": "train", "loss": 2.5}`, flushed
when it is written. Step `n` means after `n` updates, as it does for
checkpoints. Floats are written with all their digits, so that two runs can be
compared bit for bit.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attnjax.training.disk_errors import naming_disk_errors

Record = dict[str, Any]


class JsonLines:
  r"""A file of records, one JSON object a line.

  Opening it drops the records after `resume_step`, and a last line that a
  kill left half-written, by an atomic rewrite. A number that is not finite is
  written as null, for JSON has no word for it.

  Args:
    path: of the file; its directory is made where there is none.
    resume_step: the step that was restored; 0 drops every later record, so
      every record of a run.

  Raises:
    ValueError: a line that is not the last one is damaged.

  >>> from pathlib import Path
  >>> import tempfile
  >>> path = Path(tempfile.mkdtemp()) / "metrics.jsonl"
  >>> with JsonLines(path, 0) as lines:
  ...   lines.write({"step": 1, "split": "train", "loss": 0.1})
  >>> path.read_text()
  '{"step": 1, "split": "train", "loss": 0.1}\n'
  """

  def __init__(self, path: str | os.PathLike[str], resume_step: int):
    self.path = Path(path)
    self.path.parent.mkdir(parents=True, exist_ok=True)
    self.records = _keep_until(self.path, resume_step)
    self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115

  def write(self, record: Mapping[str, Any]) -> None:
    """Appends one record, and hands it to the system at once."""
    plain = {name: _plain(value) for name, value in record.items()}
    with naming_disk_errors(self.path, "write a record"):
      self._file.write(json.dumps(plain, allow_nan=False) + "\n")
      self._file.flush()

  def sync(self) -> None:
    """Waits until the records are on the disk, and not only in its cache."""
    with naming_disk_errors(self.path, "write records"):
      self._file.flush()
      os.fsync(self._file.fileno())

  def close(self) -> None:
    """Closes the file."""
    with naming_disk_errors(self.path, "write records"):
      self._file.close()

  def __enter__(self) -> "JsonLines":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def read_metrics(path: str | os.PathLike[str]) -> list[Record]:
  """The records of a JSON lines file, a half-written last line left out.

  Args:
    path: of the file; one that does not exist has no records.

  Raises:
    ValueError: a line that is not the last one is damaged.

  >>> read_metrics("no/such/metrics.jsonl")
  []
  """
  return [record for record, _ in _read(Path(path))]


def _keep_until(path: Path, step: int) -> list[Record]:
  """Rewrites a file without the records after a step; returns the others."""
  kept = [pair for pair in _read(path) if pair[0]["step"] <= step]
  content = b"".join(line + b"\n" for _, line in kept)
  if path.exists() and path.read_bytes() != content:
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  return [record for record, _ in kept]


def _read(path: Path) -> Iterator[tuple[Record, bytes]]:
  """Each record and its line; a last line cut short by a kill is left out."""
  lines = path.read_bytes().split(b"\n") if path.exists() else []
  while lines and not lines[-1]:
    lines.pop()
  for number, line in enumerate(lines, start=1):
    try:
      record = json.loads(line)
      _ = int(record["step"]), str(record["split"])
    except (ValueError, KeyError, TypeError) as error:
      if number == len(lines):
        return
      raise ValueError(
        f"{path}, line {number}: expected a JSON record with a step and a"
        f" split, got {line[:40]!r}; remove the line, or the file"
      ) from error
    yield record, line


def _plain(value: Any) -> Any:
  """A JSON value of the same bits; None for a number that is not finite."""
  if isinstance(value, str | int) or value is None:
    return value
  number = float(value)
  return number if math.isfinite(number) else None
