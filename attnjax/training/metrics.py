"""Writers of a run's scalars: JSON lines, and TensorBoard beside them."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attnjax.extras import needs_extra
from attnjax.training.disk_errors import naming_disk_errors
from attnjax.training.processes import from_primary, is_primary

__all__ = ["JsonLines", "Metrics", "Record", "TensorBoard", "read_metrics"]

Record = dict[str, Any]


class JsonLines:
  r"""A file of records, one JSON object a line.

  Opening it drops the records after `resume_step`, and a last line that a
  kill left half-written, by an atomic rewrite. A number that is not finite is
  written as null, for JSON has none.

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
    self.records = _drop_records_after(self.path, resume_step)
    self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115

  def write(self, record: Mapping[str, Any]) -> None:
    """Appends one record and flushes it to the operating system."""
    plain = {name: _plain(value) for name, value in record.items()}
    with naming_disk_errors(self.path, "write a record"):
      self._file.write(json.dumps(plain, allow_nan=False) + "\n")
      self._file.flush()

  def sync(self) -> None:
    """Waits until the records are on the disk (fsync)."""
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


def _drop_records_after(path: Path, step: int) -> list[Record]:
  """Rewrites a file without the records after a step; returns the rest."""
  kept = [pair for pair in _read(path) if pair[0]["step"] <= step]
  content = b"".join(line + b"\n" for _, line in kept)
  if path.exists() and path.read_bytes() != content:
    # A new file and a rename: a kill leaves the old records or the new ones.
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
  # After the newline of the last record `split` leaves an empty string.
  while lines and not lines[-1]:
    lines.pop()

  for number, line in enumerate(lines, start=1):
    try:
      record = json.loads(line)
      # Touched to find out whether the line is a record of ours.
      _ = int(record["step"]), str(record["split"])
    except (ValueError, KeyError, TypeError) as error:
      # A kill cuts off the last line only: damage elsewhere is an error.
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
  # JSON has no NaN and no infinity; `allow_nan=False` would raise.
  number = float(value)
  return number if math.isfinite(number) else None


class TensorBoard:
  """The same records as TensorBoard scalars, tagged `split/name`.

  Args:
    directory: of the event files.
    resume_step: TensorBoard forgets what earlier runs logged after it.

  Raises:
    ImportError: tensorboardX is missing.
  """

  def __init__(self, directory: str | os.PathLike[str], resume_step: int):
    # purge_step itself is purged too, and the record of resume_step must stay.
    # The suffix keeps two files of the same second apart.
    self._directory = Path(directory)
    self._writer = _tensorboardx().SummaryWriter(
      logdir=str(directory),
      purge_step=resume_step + 1,
      filename_suffix=f".{resume_step:012}",
    )

  def write(self, record: Mapping[str, Any]) -> None:
    """Logs every number of a record under its step."""
    if not self._events._worker.is_alive():
      # Its queue is never emptied any more: `put` would block for ever.
      raise OSError(
        f"cannot write to {self._directory}: tensorboardX's thread has ended;"
        " see above, and run the same command again"
      )

    for name, value in record.items():
      if name not in ("step", "split"):
        tag = f"{record['split']}/{name}"
        self._writer.add_scalar(tag, float(value), record["step"])

  def draw(self, step: int, split: str, pictures: Mapping[str, Any]) -> None:
    """Logs pictures, uint8 ``Y X 3``, under a step."""
    for name, pixels in pictures.items():
      self._writer.add_image(f"{split}/{name}", pixels, step, dataformats="HWC")

  def sync(self) -> None:
    """Writes the queued scalars to the file."""
    with naming_disk_errors(self._directory, "write records"):
      self._writer.flush()

  def close(self) -> None:
    """Writes the queued scalars and closes the file."""
    events = self._events
    try:
      with naming_disk_errors(self._directory, "write records"):
        self._writer.close()
    except OSError:
      # Else it tries again when Python exits, and prints a long traceback.
      events._worker.stop()
      events._closed = True
      raise

  @property
  def _events(self) -> Any:
    """The part of tensorboardX that owns the file and the writing thread."""
    return self._writer.file_writer.event_writer


class Metrics:
  """Every scalar of a run: `metrics.jsonl`, and TensorBoard beside it.

  Of several processes only the first writes; it sends the earlier evaluations
  to the others.

  Args:
    workdir: directory of the run; holds `metrics.jsonl` and `tensorboard/`.
    resume_step: the step that was restored, 0 for a new run: later records
      are dropped. None leaves it to `train`, which calls `resume`.
    tensorboard: whether to write TensorBoard's event files too.

  Raises:
    ImportError: `tensorboard` is asked for and tensorboardX is missing.

  >>> import tempfile
  >>> with Metrics(tempfile.mkdtemp(), 0, tensorboard=False) as metrics:
  ...   metrics.write(20, "eval", {"loss": 2.5})
  ...   metrics.evaluations()
  [{'step': 20, 'split': 'eval', 'loss': 2.5}]
  """

  def __init__(
    self,
    workdir: str | os.PathLike[str],
    resume_step: int | None = None,
    *,
    tensorboard: bool = True,
  ):
    self._workdir = Path(workdir)
    self._tensorboard = tensorboard
    self._writers: list[JsonLines | TensorBoard] = []
    self._evaluations: list[Record] = []
    self._open = False
    if tensorboard:
      _tensorboardx()  # a missing extra is an error now, and not hours later
    if resume_step is not None:
      self.resume(resume_step)

  def resume(self, step: int) -> None:
    """Drops the records after a step and opens the files at it.

    Args:
      step: the number of updates of the restored state, 0 for a new run.

    Raises:
      ValueError: a line of `metrics.jsonl` is damaged.
    """
    self.close()
    path = self._workdir / "metrics.jsonl"
    records: list[Record] = []

    if is_primary():
      lines = JsonLines(path, step)
      self._writers, records = [lines], lines.records
      if self._tensorboard:
        board = TensorBoard(self._workdir / "tensorboard", step)
        self._writers.append(board)

    # Sent and not read from the disk by each: all processes have to agree on
    # the best evaluation, or only some of them would save a checkpoint.
    self._evaluations = from_primary(
      lambda: [found for found in records if found["split"] == "eval"]
    )
    self._open = True

  def write(self, step: int, split: str, values: Mapping[str, Any]) -> None:
    """Records some scalars.

    Args:
      step: number of updates done.
      split: `train`, `eval`, or what else is recorded.
      values: name -> a number.

    Raises:
      ValueError: called before `resume` or after `close`, or a scalar is called
        `step` or `split`.
      OSError: the disk is full; names it.
    """
    if not self._open:
      raise ValueError(
        "resume_step: expected a step before the first record, got none; call"
        " metrics.resume(step), or give Metrics(workdir, resume_step)"
      )

    if taken := {"step", "split"} & set(values):
      raise ValueError(
        f"values: a metric must not be called {' or '.join(sorted(taken))}, by"
        " which records are found; give it another name"
      )

    record: Record = {"step": step, "split": split}
    record |= {name: float(value) for name, value in values.items()}

    if split == "eval":
      self._evaluations.append(record)

    for writer in self._writers:
      writer.write(record)

  def draw(self, step: int, split: str, pictures: Mapping[str, Any]) -> None:
    """Records pictures, in TensorBoard alone.

    Args:
      step: number of updates done.
      split: what they are of.
      pictures: name -> uint8 ``Y X 3``.
    """
    for writer in self._writers:
      if isinstance(writer, TensorBoard):
        writer.draw(step, split, pictures)

  def evaluations(self) -> list[Record]:
    """The `eval` records so far, those of earlier runs included."""
    return list(self._evaluations)

  def sync(self) -> None:
    """Waits until every record is on the disk."""
    for writer in self._writers:
      writer.sync()

  def close(self) -> None:
    """Closes the files."""
    writers, self._writers, self._open = self._writers, [], False
    with contextlib.ExitStack() as stack:
      for writer in writers:
        # A stack closes the others too where one raises.
        stack.callback(writer.close)

  def __enter__(self) -> "Metrics":
    return self

  def __exit__(self, kind: object, error: object, traceback: object) -> None:
    # A full disk refuses the last flush too; one error is enough.
    with contextlib.suppress(OSError) if error else contextlib.nullcontext():
      self.close()


def _tensorboardx() -> Any:
  """The module tensorboardX; imported on first use, for it takes 0.5 s."""
  with needs_extra(
    "metrics",
    "TensorBoard logs need tensorboardX",
    instead=", or turn them off with Metrics(..., tensorboard=False)",
  ):
    import tensorboardX

  return tensorboardX
