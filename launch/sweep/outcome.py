"""Results of a sweep: a table and a plot of numbers in `result.json`."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnjax.runs import table
from attnjax.viz import save_lines
from launch.sweep.points import Point

__all__ = [
  "metrics_of",
  "names_of",
  "numbers",
  "outcome_table",
  "plot",
  "read_outcomes",
]

_MOST_COLUMNS = 6


def numbers(result: Any) -> dict[str, float]:
  """Numbers of a result by dotted name, averaged over seeds.

  Args:
    result: what an experiment gave to `write_results`.

  >>> numbers({"loss": [1.0, 3.0], "by": {"a": 0.5, "note": "x"}})
  {'loss': 2.0, 'by.a': 0.5}
  >>> numbers([{"error": 1.0}, {"error": 2.0}])
  {'error': 1.5}
  """
  found: dict[str, float] = {}
  _collect(result, "", found)
  return found


def _collect(value: Any, name: str, found: dict[str, float]) -> None:
  """Adds the numbers below one value to `found`, recursively."""
  # True is an int for Python, and no result for a table.
  if isinstance(value, bool):
    return

  if isinstance(value, int | float):
    found[name] = float(value)
  elif isinstance(value, Mapping):
    for key, inner in value.items():
      _collect(inner, f"{name}.{key}" if name else str(key), found)
  elif isinstance(value, list) and value:
    # One a seed, or a step: alike in what they have.
    each: list[dict[str, float]] = [{} for _ in value]
    for inner, into in zip(value, each, strict=True):
      if not isinstance(inner, list):
        _collect(inner, name, into)
    for key in each[0]:
      if all(key in one for one in each):
        found[key] = math.fsum(one[key] for one in each) / len(each)


def read_outcomes(
  place: Path, points: Sequence[Point]
) -> list[dict[str, float] | None]:
  """Numbers of each point; None where there is no result yet.

  Args:
    place: directory of the sweep, or its mirror.
    points: of the sweep.
  """
  outcomes: list[dict[str, float] | None] = []
  for point in points:
    path = place / point.name / "result.json"
    text = path.read_text(encoding="utf-8") if path.exists() else None
    outcomes.append(None if text is None else numbers(json.loads(text)))
  return outcomes


def names_of(outcomes: Sequence[Mapping[str, float] | None]) -> list[str]:
  """Names of the numbers of all results, in order of appearance.

  >>> names_of([None, {"loss": 1.0}, {"loss": 2.0, "error": 0.5}])
  ['loss', 'error']
  """
  return list(dict.fromkeys(n for found in outcomes for n in found or ()))


def metrics_of(
  outcomes: Sequence[Mapping[str, float] | None], metric: str | None
) -> list[str]:
  """Names of the numbers to show: the given metric, or the first six.

  Raises:
    ValueError: no result has the metric, or there is none at all.
  """
  names = names_of(outcomes)
  if not names:
    raise ValueError(
      "sweep: no point has a number in its result.json; only experiments that"
      " write one can be compared"
    )
  if metric is None:
    return names[:_MOST_COLUMNS]
  if metric not in names:
    raise ValueError(f"metric: there are {', '.join(names)}, got {metric!r}")

  return [metric]


def outcome_table(
  axes: Mapping[str, Sequence[str]],
  points: Sequence[Point],
  outcomes: Sequence[Mapping[str, float] | None],
  metric: str | None = None,
) -> str:
  """Markdown table of one row a point; a dash for a missing number.

  Args:
    axes: name -> values.
    points: of the sweep.
    outcomes: as `read_outcomes` gives them.
    metric: the one number to show; None shows the first few.
  """
  shown = metrics_of(outcomes, metric)
  rows = [
    [*point.values, *(_cell((found or {}).get(name)) for name in shown)]
    for point, found in zip(points, outcomes, strict=True)
  ]
  return table([*axes, *shown], rows)


def plot(
  path: Path,
  axes: Mapping[str, Sequence[str]],
  points: Sequence[Point],
  outcomes: Sequence[Mapping[str, float] | None],
  metric: str | None = None,
) -> Path | None:
  """Plots a number against the longest numeric axis; other axes make lines.

  Args:
    path: of the figure.
    axes: name -> values.
    points: of the sweep.
    outcomes: as `read_outcomes` gives them.
    metric: name of the number to draw; None draws the first.

  Returns:
    The path; None where no axis is of numbers.
  """
  numeric = [name for name in axes if all(map(_is_number, axes[name]))]
  if not numeric:
    return None

  [shown, *_] = metrics_of(outcomes, metric)
  # The axis of most values has the most to show as a line.
  across = max(numeric, key=lambda name: len(axes[name]))
  place = list(axes).index(across)
  lines: dict[str, dict[float, float]] = {}

  for point, found in zip(points, outcomes, strict=True):
    others = [
      f"{name.rsplit('.', 1)[-1]}={value}"
      for name, value in zip(axes, point.values, strict=True)
      if name != across
    ]
    line = lines.setdefault(", ".join(others) or shown, {})
    x = float(point.values[place])
    line[x] = (found or {}).get(shown, math.nan)

  series = {
    name: (sorted(line), [line[x] for x in sorted(line)])
    for name, line in lines.items()
  }
  return save_lines(
    path,
    series,
    x_label=across,
    y_label=shown,
    log_x=_spans_decades([float(x) for x in axes[across]]),
  )


def _is_number(text: str) -> bool:
  """Whether a value of an axis is a finite number."""
  try:
    return math.isfinite(float(text))
  except ValueError:
    return False


def _spans_decades(values: Sequence[float]) -> bool:
  """Whether positive values span decades, for a logarithmic axis."""
  return min(values) > 0 and max(values) >= 8 * min(values)


def _cell(value: float | None) -> str:
  """A number as text; a dash for None."""
  return "–" if value is None else f"{value:.5g}"
