"""Where the scalars of a run go: JSON lines and TensorBoard."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnjax.extras import needs_extra
from attnjax.training.disk_errors import naming_disk_errors
from attnjax.training.json_lines import JsonLines, Record
from attnjax.training.processes import from_primary, is_primary


class TensorBoard:
  """The same records as TensorBoard scalars, tagged `split/name`.

  Args:
    directory: of the event files.
    resume_step: TensorBoard forgets what earlier runs logged after it.

  Raises:
    ImportError: tensorboardX is missing.
  """

  def __init__(self, directory: str | os.PathLike[str], resume_step: int):
    # It purges what is at purge_step too, and resume_step itself is to stay.
    # Two files of one second would have one name without the suffix.
    self._directory = Path(directory)
    self._writer = _tensorboardx().SummaryWriter(
      logdir=str(directory),
      purge_step=resume_step + 1,
      filename_suffix=f".{resume_step:012}",
    )

  def write(self, record: Mapping[str, Any]) -> None:
    """Logs every number of a record under its step."""
    if not self._events._worker.is_alive():
      # Nobody empties the queue any more: the next records would wait for ever.
      raise OSError(
        f"cannot write to {self._directory}: tensorboardX's thread has ended;"
        " see above, and run the same command again"
      )
    for name, value in record.items():
      if name not in ("step", "split"):
        tag = f"{record['split']}/{name}"
        self._writer.add_scalar(tag, float(value), record["step"])

  def sync(self) -> None:
    """Writes what is still queued."""
    with naming_disk_errors(self._directory, "write records"):
      self._writer.flush()

  def close(self) -> None:
    """Writes what is still queued and closes the file."""
    events = self._events
    try:
      with naming_disk_errors(self._directory, "write records"):
        self._writer.close()
    except OSError:
      # Else it would try again when Python ends, and tell of it at length.
      events._worker.stop()
      events._closed = True
      raise

  @property
  def _events(self) -> Any:
    """What of tensorboardX holds the file, and the thread that writes it."""
    return self._writer.file_writer.event_writer


class Metrics:
  """Every scalar of a run: `metrics.jsonl`, and TensorBoard beside it.

  Where several processes train together, the first one writes and tells the
  others what was evaluated.

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
    # Told and not read: all have to find the same evaluations the best.
    self._evaluations = from_primary(
      lambda: [found for found in records if found["split"] == "eval"]
    )
    self._open = True

  def write(self, step: int, split: str, values: Mapping[str, Any]) -> None:
    """Records some scalars.

    Args:
      step: number of updates done.
      split: `train` or `eval`.
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
        stack.callback(writer.close)

  def __enter__(self) -> "Metrics":
    return self

  def __exit__(self, kind: object, error: object, traceback: object) -> None:
    # A disk that is full refuses the last flush too: one error is enough.
    with contextlib.suppress(OSError) if error else contextlib.nullcontext():
      self.close()


def _tensorboardx() -> Any:
  """The module, imported on first use: it takes half a second."""
  with needs_extra(
    "metrics",
    "TensorBoard logs need tensorboardX",
    instead=", or turn them off with Metrics(..., tensorboard=False)",
  ):
    import tensorboardX

  return tensorboardX
