"""A run that is watched: its records so far, read as they are written."""

import dataclasses
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from launch.sweep.outcome import numbers

__all__ = ["WatchedRun", "find_runs", "ordered"]

_RECORDS = "metrics.jsonl"


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
  train: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  evaluations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  steps: int | None = None
  written: float | None = None  # seconds since the epoch, of the last record
  _offset: int = 0
  _mark: tuple[int, int] | None = None

  def refresh(self) -> None:
    """Reads the lines written since; of a file written anew, all of them."""
    file = self.path / _RECORDS
    try:
      status = file.stat()
    except OSError:  # not there yet, or moved away
      return
    mark = (status.st_ino, status.st_size)
    if mark == self._mark:
      return
    # Resuming rewrites the file, under another inode or shorter than before.
    if self._mark is not None and (
      status.st_ino != self._mark[0] or status.st_size < self._offset
    ):
      self._offset, self.train, self.evaluations = 0, [], []

    with open(file, "rb") as records:
      records.seek(self._offset)
      new = records.read()
    # A line that is being written is read once it is whole.
    whole = new.rfind(b"\n") + 1
    self._offset += whole
    self._mark, self.written = mark, status.st_mtime
    self._add(new[:whole].splitlines())
    self.steps = self.steps or _steps_of(self.path)

  def _add(self, lines: Iterable[bytes]) -> None:
    """Sorts records by their split; a damaged line is passed over."""
    for line in lines:
      try:
        record = json.loads(line)
        kind = record["split"]
        _ = int(record["step"])
      except (ValueError, KeyError, TypeError):
        continue
      if kind == "train":
        self.train.append(record)
      elif kind == "eval":
        self.evaluations.append(record)

  @property
  def step(self) -> int:
    """Updates done, of the last record."""
    last = [x[-1]["step"] for x in (self.train, self.evaluations) if x]
    return max(last, default=0)

  @property
  def is_done(self) -> bool:
    """Whether all steps are recorded."""
    return self.steps is not None and self.step >= self.steps

  @property
  def seconds_left(self) -> float | None:
    """At the speed of the last record; None where that is not known."""
    if self.steps is None or not self.train:
      return None
    last = self.train[-1]
    speed, weight = last.get("tokens_per_second"), last.get("weight")
    if not speed or not weight:
      return None
    return (self.steps - self.step) * weight / speed

  def latest(self, name: str) -> float | None:
    """A number of the last training record."""
    return self.train[-1].get(name) if self.train else None

  def metric(self, name: str) -> float | None:
    """A number of the last evaluation, else of the run's `result.json`."""
    if self.evaluations and self.evaluations[-1].get(name) is not None:
      return self.evaluations[-1][name]
    return self._result().get(name)

  @property
  def names(self) -> set[str]:
    """Metrics that the last evaluation or `result.json` has."""
    last = self.evaluations[-1] if self.evaluations else {}
    return {x for x in last if x not in ("step", "split")} | {*self._result()}

  def _result(self) -> dict[str, float]:
    """The numbers of `result.json`; none where there is no such file yet."""
    try:
      return numbers(json.loads((self.path / "result.json").read_text("utf-8")))
    except (OSError, ValueError):
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
    for file in sorted(place.glob(f"**/{_RECORDS}")):
      folder = file.parent
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


def _steps_of(path: Path) -> int | None:
  """The length of a run, as its `config.json` says."""
  try:
    stored = json.loads((path / "config.json").read_text("utf-8"))
    return int(stored["config"]["train"]["steps"])
  except (OSError, ValueError, KeyError, TypeError):
    return None
