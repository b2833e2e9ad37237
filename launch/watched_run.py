"""A run that is watched: its records so far, read as they are written."""

import dataclasses
import json
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.sweep.outcome import numbers

__all__ = ["WatchedRun", "find_runs", "ordered"]

_RECORDS = "metrics.jsonl"
# Where a run keeps other files, thousands of them: no run is below these.
_NO_RUNS = {"checkpoints", "tensorboard", "profile"}
_PIECE = 2**22  # bytes of a file read at once
_LONGEST = 2**20  # bytes of a line; a longer one is no record
# Of what is further back than a piece, one training record in so many is read.
_SKIPPED = 16
_KEPT = 4096  # losses; of more, neighbours become their mean


@dataclasses.dataclass(eq=False)
class WatchedRun:
  """The records of one run; `refresh` reads the lines that came since.

  Args:
    name: to show.
    path: directory of the run.

  >>> import tempfile
  >>> from pathlib import Path
  >>> folder = Path(tempfile.mkdtemp())
  >>> text = '{"step": 5, "split": "train", "loss": 2.5, "weight": 10.0,'
  >>> text += ' "tokens_per_second": 20.0}'
  >>> _ = (folder / "metrics.jsonl").write_text(text)
  >>> text = '{"experiment": "x", "config": {"train": {"steps": 9}}}'
  >>> _ = (folder / "config.json").write_text(text)
  >>> run = WatchedRun("x", folder)
  >>> run.refresh()
  >>> run.step, run.steps, run.seconds_left
  (0, 9, None)
  >>> with open(folder / "metrics.jsonl", "a") as file:
  ...   _ = file.write(chr(10))
  >>> run.refresh()
  >>> run.step, run.seconds_left
  (5, 2.0)
  """

  name: str
  path: Path
  losses: list[float | None] = dataclasses.field(default_factory=list)
  last: dict[str, float] = dataclasses.field(default_factory=dict)
  evaluation: dict[str, float] = dataclasses.field(default_factory=dict)
  step: int = 0
  steps: int | None = None
  written: float | None = None  # seconds since the epoch, of the last record
  _offset: int = 0
  _each: int = 1  # records that one of the losses stands for
  _some: list[float | None] = dataclasses.field(default_factory=list)
  _mark: tuple[int, int] | None = None

  def refresh(self) -> None:
    """Reads the lines written since; of a file written anew, all of them."""
    file = self.path / _RECORDS
    try:
      status = file.stat()
      mark = (status.st_ino, status.st_size)
      if mark == self._mark or not stat.S_ISREG(status.st_mode):
        return
      with open(file, "rb") as records:
        self._read(records, mark)
    except OSError:  # not there yet, moved away, or not ours to read
      return
    self.written = status.st_mtime
    self.steps = self.steps or _steps_of(self.path)

  def _read(self, records: Any, mark: tuple[int, int]) -> None:
    """Takes the whole lines of an open file from where it was left."""
    # Resuming rewrites the file, under another inode or shorter than before.
    if self._mark is not None and (
      mark[0] != self._mark[0] or mark[1] < self._offset
    ):
      self._offset, self.step, self._each = 0, 0, 1
      self.losses, self.last, self.evaluation = [], {}, {}
      self._some = []
    self._mark = mark

    records.seek(self._offset)
    # To where it ended when it was looked at: it may grow faster than is read.
    left, rest = mark[1] - self._offset, b""
    while left > 0:
      # The last piece is a whole one, of which every record is read.
      piece = records.read(left if left < 2 * _PIECE else _PIECE)
      left = left - len(piece) if piece else 0
      # A line that is being written is read once it is whole.
      *whole, rest = (rest + piece).split(b"\n")
      stride = 1 if left == 0 else _SKIPPED
      for number, line in enumerate(whole):
        self._offset += len(line) + 1
        if number % stride == 0 or b'"eval"' in line:
          self._add(line, stride)
      if len(rest) > _LONGEST:
        self._offset, rest = self._offset + len(rest), b""

  def _add(self, line: bytes, records: int) -> None:
    """Takes a record that stands for some; a line that is none is passed."""
    try:
      record = json.loads(line)
    except (ValueError, RecursionError):
      return
    if not isinstance(record, dict):
      return
    step, kind = record.get("step"), record.get("split")
    if kind not in ("train", "eval") or not isinstance(step, int):
      return

    found = {k: x for k, x in record.items() if _is_number(x)}
    if "step" not in found:
      return
    self.step = max(self.step, step)
    if kind == "eval":
      self.evaluation = found
    else:
      self.last = found
      self._keep(found.get("loss"), records)

  def _keep(self, loss: float | None, records: int) -> None:
    """Keeps the loss of some records, which are millions in a long run."""
    self._some += [loss] * records
    while len(self._some) >= self._each:
      self.losses.append(_mean(self._some[: self._each]))
      self._some = self._some[self._each :]
      if len(self.losses) == _KEPT:
        pairs = zip(self.losses[::2], self.losses[1::2], strict=True)
        self.losses = [_mean(pair) for pair in pairs]
        self._each *= 2

  @property
  def is_done(self) -> bool:
    """Whether all steps are recorded."""
    return self.steps is not None and self.step >= self.steps

  @property
  def seconds_left(self) -> float | None:
    """At the speed of the last record; None where that is not known."""
    speed, weight = self.latest("tokens_per_second"), self.latest("weight")
    if self.steps is None or not speed or not weight or speed < 0:
      return None
    return max(0, self.steps - self.step) * weight / speed

  def latest(self, name: str) -> float | None:
    """A number of the last training record."""
    return self.last.get(name)

  def metric(self, name: str) -> float | None:
    """A number of the last evaluation, else of the run's `result.json`."""
    found = self.evaluation.get(name)
    return self._result().get(name) if found is None else found

  @property
  def names(self) -> set[str]:
    """Metrics that the last evaluation or `result.json` has."""
    return {x for x in self.evaluation if x != "step"} | {*self._result()}

  def _result(self) -> dict[str, float]:
    """The numbers of `result.json`; none where there is no such file yet."""
    try:
      found = json.loads((self.path / "result.json").read_text("utf-8"))
      return {k: x for k, x in numbers(found).items() if _is_number(x)}
    except (OSError, ValueError, OverflowError, RecursionError):
      return {}

  def age(self, now: float | None = None) -> float | None:
    """Seconds since the last record was written."""
    if self.written is None:
      return None
    return max(0.0, (time.time() if now is None else now) - self.written)


def find_runs(places: Sequence[Path]) -> list[WatchedRun]:
  """The runs in directories and below them, in the order of their names.

  Args:
    places: directories of runs, or directories that hold some, as of a sweep.

  >>> import tempfile
  >>> from pathlib import Path
  >>> place = Path(tempfile.mkdtemp())
  >>> for seed in (0, 1):
  ...   (place / f"seed={seed}").mkdir()
  ...   (place / f"seed={seed}" / "metrics.jsonl").touch()
  >>> [run.name for run in find_runs([place])]
  ['seed=0', 'seed=1']
  """
  found = {}
  for place in places:
    for folder in _folders(place):
      own = place.name or str(place)
      name = own if folder == place else str(folder.relative_to(place))
      if len(places) > 1 and folder != place:
        name = f"{own}/{name}"
      found[folder.resolve()] = WatchedRun(name, folder)
  return list(found.values())


def ordered(
  runs: Sequence[WatchedRun], metric: str, *, descending: bool = False
) -> list[WatchedRun]:
  """Runs by a metric, the best first; those without a number last.

  Args:
    runs: to sort.
    metric: of `WatchedRun.metric`.
    descending: whether the largest number is the best.
  """
  sign = -1 if descending else 1

  def key(run: WatchedRun) -> tuple[bool, float]:
    value = run.metric(metric)
    return value is None, sign * (value or 0.0)

  return sorted(runs, key=key)


def _folders(place: Path) -> list[Path]:
  """The directories with records at a place and below, sorted."""
  found = []
  # What vanishes meanwhile, or may not be read, is passed over.
  for folder, below, files in os.walk(place):
    below[:] = [x for x in below if x not in _NO_RUNS]
    if _RECORDS in files:
      found.append(Path(folder))
  return sorted(found)


def _mean(values: Sequence[float | None]) -> float | None:
  """The mean of what is known; None of nothing."""
  known = [x for x in values if x is not None]
  return sum(known) / len(known) if known else None


def _is_number(value: Any) -> bool:
  """Whether a value of JSON is a number that a table can show."""
  # True is an int for Python; NaN is between no two numbers.
  return (
    isinstance(value, int | float)
    and not isinstance(value, bool)
    and -1e300 < value < 1e300
  )


def _steps_of(path: Path) -> int | None:
  """The length of a run, as its `config.json` says."""
  try:
    stored = json.loads((path / "config.json").read_text("utf-8"))
    steps = stored["config"]["train"]["steps"]
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    return None
  return steps if isinstance(steps, int) and _is_number(steps) else None
