"""What experiments say when they are done: spreads over seeds, tables, JSON."""

import json
import os
import statistics
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["spread", "table", "write_results"]


def spread(values: Sequence[float], digits: int = 3) -> str:
  """The mean of several seeds and their sample standard deviation.

  Args:
    values: one a seed.
    digits: significant digits of the mean.

  >>> spread([0.5, 0.7])
  '0.600 ± 0.141'
  >>> spread([2e-5])
  '2.00e-05'
  """
  mean = statistics.fmean(values)
  small = 0 < abs(mean) < 1e-3
  places = max(digits - _whole_digits(mean), 0)
  write = lambda x: f"{x:.{digits - 1}e}" if small else f"{x:.{places}f}"
  if len(values) == 1:
    return write(mean)
  return f"{write(mean)} ± {write(statistics.stdev(values))}"


def _whole_digits(x: float) -> int:
  """Digits before the point; none of a number below 1."""
  return len(str(int(abs(x)))) if abs(x) >= 1 else 0


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
  """A table as GitHub shows it, and as a terminal can be read.

  Args:
    columns: their names; the first column is aligned left, the others right.
    rows: as many cells each.

  >>> print(table(["model", "error"], [["ours", "0.1"], ["theirs", "0.25"]]))
  | model  | error |
  |:-------|------:|
  | ours   |   0.1 |
  | theirs |  0.25 |
  """
  cells = [[str(x) for x in row] for row in (columns, *rows)]
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

  def line(row: Sequence[str]) -> str:
    first, *rest = zip(row, widths, strict=True)
    padded = [f"{first[0]:<{first[1]}}", *(f"{x:>{w}}" for x, w in rest)]
    return "| " + " | ".join(padded) + " |"

  rule = [
    ":" + "-" * (widths[0] + 1),
    *("-" * (w + 1) + ":" for w in widths[1:]),
  ]
  return "\n".join(
    [line(cells[0]), "|" + "|".join(rule) + "|", *map(line, cells[1:])]
  )


def write_results(workdir: Path, results: Mapping[str, Any]) -> Path:
  """Writes `result.json`, whole or not at all.

  >>> import tempfile
  >>> path = write_results(Path(tempfile.mkdtemp()), {"accuracy": [0.5, 0.7]})
  >>> json.loads(path.read_text())["accuracy"]
  [0.5, 0.7]
  """
  path = workdir / "result.json"
  # Several processes of one run may come here at once.
  half = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
  half.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
  os.replace(half, path)
  return path
