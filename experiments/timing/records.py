"""Records of what was measured: as CSV, as one line, and as progress."""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import console, progress

from experiments.timing.rounds import OK, Measured

__all__ = ["Progress", "Record", "record", "summary", "write_csv"]

Record = Mapping[str, Any]


def record(row: Measured, **labels: object) -> dict[str, Any]:
  """A flat record of a row, labels first; what is not known is None."""
  ratio, prepared = row.ratio, row.prepared

  # The same fields whether it ran or not: the CSV has one header.
  return {
    **labels,
    "contender": row.contender,
    "status": row.status,
    "seconds": row.seconds,
    "ratio": ratio.median if ratio else None,
    "ratio_low": ratio.low if ratio else None,
    "ratio_high": ratio.high if ratio else None,
    "rounds": row.rounds,
    "memory_bytes": prepared.memory_bytes if prepared else None,
    "memory_kind": prepared.memory_kind if prepared else "",
    "compile_seconds": prepared.compile_seconds if prepared else None,
    "note": prepared.note if prepared else "",
  }


def write_csv(path: Path, records: Sequence[Record]) -> Path:
  """Writes records to a file; a field that is None is empty there."""
  with path.open("w", newline="", encoding="utf-8") as file:
    # All records of a file have the same fields.
    writer = csv.DictWriter(file, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
  return path


def summary(records: Sequence[Record]) -> str:
  """Times and ratios of one group of contenders in a line."""
  parts = []
  for each in records:
    if each["status"] != OK:
      parts.append(f"{each['contender']} -")
      continue
    ratio = "" if each["ratio"] is None else f" {each['ratio']:.2f}x"
    parts.append(f"{each['contender']} {each['seconds'] * 1e3:.2f} ms{ratio}")
  return ", ".join(parts)


class Progress:
  """Progress over cases: a bar on a terminal, a line a case in a log.

  Args:
    total: number of cases.
  """

  def __init__(self, total: int):
    self._total = total
    self._done = 0
    self._bar: progress.Progress | None = None
    if sys.stderr.isatty():
      # Standard output has the tables.
      out = console.Console(file=sys.stderr)
      self._bar = progress.Progress(console=out)
      self._bar.add_task("", total=total)
      self._bar.start()

  def done(self, text: str) -> None:
    """Counts one more case, and prints a line of text above the bar."""
    self._done += 1
    line = f"[{self._done}/{self._total}] {text}"
    if self._bar is None:
      print(line, file=sys.stderr, flush=True)
      return
    # `[1/4]` is no markup.
    self._bar.console.print(line, markup=False, highlight=False)
    self._bar.advance(self._bar.task_ids[0])

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *_: object) -> None:
    if self._bar is not None:
      self._bar.stop()
