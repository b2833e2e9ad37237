"""Results of experiments: spreads over seeds, tables, and JSON files."""

import json
import os
import statistics
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnjax.moved import forward_names
from attnjax.training import from_primary

__all__ = ["measure_once", "spread", "table", "write_results"]


def spread(values: Sequence[float] | np.ndarray, digits: int = 3) -> str:
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
  whole_digits = len(str(int(abs(mean)))) if abs(mean) >= 1 else 0
  places = max(digits - whole_digits, 0)
  write = lambda x: f"{x:.{digits - 1}e}" if small else f"{x:.{places}f}"
  if len(values) == 1:
    # One value has no sample deviation.
    return write(mean)
  return f"{write(mean)} ± {write(statistics.stdev(values))}"


def table(columns: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
  """A Markdown table, aligned for the terminal.

  Args:
    columns: their names, or numbers; the first column is aligned left, the
      others right.
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
  """Writes `result.json` atomically into a directory, which is made.

  Experiments call it before they draw, so that an error of a plot loses none.

  >>> import json
  >>> from pathlib import Path
  >>> import tempfile
  >>> path = write_results(Path(tempfile.mkdtemp()), {"accuracy": [0.5, 0.7]})
  >>> json.loads(path.read_text())["accuracy"]
  [0.5, 0.7]
  """
  return _write(workdir / "result.json", results)


def measure_once(
  path: Path, asked: Mapping[str, Any], measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
  """Measures of a run, cached in a file with the settings of the measurement.

  Args:
    path: a file beside the run, which is the same run whenever it exists.
    asked: settings of the measurement, of what JSON can hold.
    measure: computes them; returns what JSON can hold.

  >>> from pathlib import Path
  >>> import tempfile
  >>> path = Path(tempfile.mkdtemp()) / "measures.json"
  >>> measure_once(path, {"rows": 2}, lambda: {"accuracy": 0.5})
  {'accuracy': 0.5}
  >>> measure_once(path, {"rows": 2}, lambda: {"accuracy": 0.7})
  {'accuracy': 0.5}
  >>> measure_once(path, {"rows": 3}, lambda: {"accuracy": 0.7})
  {'accuracy': 0.7}
  """
  # As JSON holds it, for it is compared with what the file has.
  asked = json.loads(json.dumps(asked))

  def found() -> dict[str, Any] | None:
    if not path.exists():
      return None

    try:
      held = json.loads(path.read_text(encoding="utf-8"))
      return held["measures"] if held["asked"] == asked else None
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f"{path}: expected the measures of a run, got something else"
        f" ({error}); remove it, and they are made again"
      ) from None

  # Process 0 looks for all: all of them have to measure, or none.
  known = from_primary(found)
  if known is None:
    # Through JSON: the same types as when they are read from the file.
    known = json.loads(json.dumps(measure()))
    _write(path, {"asked": asked, "measures": known})
  return known


def _write(path: Path, content: Mapping[str, Any]) -> Path:
  """Writes JSON atomically."""
  # The name is unique, for several processes of one run may write at once.
  path.parent.mkdir(parents=True, exist_ok=True)
  # Beside the file, for a rename cannot leave its file system.
  temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
  temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
  os.replace(temporary, path)
  return path


__getattr__ = forward_names(__name__)
