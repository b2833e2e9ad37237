"""Where the scalars of a run go: JSON lines and TensorBoard."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    self._writer = _tensorboardx().SummaryWriter(
      logdir=str(directory),
      purge_step=resume_step + 1,
      filename_suffix=f".{resume_step:012}",
    )

  def write(self, record: Mapping[str, Any]) -> None:
    """Logs every number of a record under its step."""
    for name, value in record.items():
      if name not in ("step", "split"):
        tag = f"{record['split']}/{name}"
        self._writer.add_scalar(tag, float(value), record["step"])

  def sync(self) -> None:
    """Writes what is still queued."""
    self._writer.flush()

  def close(self) -> None:
    """Writes what is still queued and closes the file."""
    self._writer.close()


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
      ValueError: called before `resume` or after `close`.
    """
    if not self._open:
      raise ValueError(
        "resume_step: expected a step before the first record, got none; call"
        " metrics.resume(step), or give Metrics(workdir, resume_step)"
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
    for writer in self._writers:
      writer.close()
    self._writers, self._open = [], False

  def __enter__(self) -> "Metrics":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def _tensorboardx() -> Any:
  """The module, imported on first use: it takes half a second."""
  try:
    import tensorboardX
  except ImportError as error:
    raise ImportError(
      "TensorBoard logs need tensorboardX: pip install 'attnjax[metrics]',"
      " or turn them off with Metrics(..., tensorboard=False)"
    ) from error
  return tensorboardX
