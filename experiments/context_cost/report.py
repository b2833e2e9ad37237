"""Tables and figures of the experiment on the cost of context."""

import statistics
from pathlib import Path

from attnjax.runs import table
from attnjax.viz import save_lines
from experiments.context_cost.config import ContextCostConfig
from experiments.context_cost.measure import PATHS, Cost, slope

__all__ = ["cost_table", "draw", "slope_table"]

_KINDS = [(path, what) for what in ("forward", "gradient") for path in PATHS]


def cost_table(config: ContextCostConfig, found: list[Cost]) -> str:
  """Table of memory and median time, a row a length."""
  names = [f"{what}, {path}" for path, what in _KINDS]
  rows = []

  for length in sorted(config.lengths):
    at = {(c.path, c.what): c for c in found if c.length == length}
    cells = [_size(at[kind].bytes) for kind in _KINDS]
    cells += [_time(at[kind].seconds) for kind in _KINDS]
    rows.append([length, f"{length**2:,}", *cells])

  columns = ["T", "weights a head, T²", *names, *names]
  return "\ntemporary memory, then time\n\n" + table(columns, rows)


def slope_table(found: list[Cost]) -> str:
  """Table of exponents of T over the longer half of the lengths."""
  rows = [
    [
      f"{what}, {path}",
      f"{slope(found, path, what, 'bytes'):.2f}",
      f"{slope(found, path, what, 'seconds'):.2f}",
    ]
    for path, what in _KINDS
  ]
  return "\nexponent of T\n\n" + table(["", "memory", "time"], rows)


def _size(count: int) -> str:
  """Number of bytes in MiB."""
  return f"{count / 2**20:,.1f} MiB"


def _time(seconds: list[float]) -> str:
  """Median of seconds in milliseconds; "not run" of none."""
  return f"{1e3 * statistics.median(seconds):,.1f} ms" if seconds else "not run"


def draw(workdir: Path, found: list[Cost]) -> list[Path]:
  """Draws memory and time over T, on logarithmic axes."""
  paths = []

  for of, label in (("bytes", "temporary memory, MiB"), ("seconds", "time, s")):
    lines = {}

    for path, what in _KINDS:
      mine = [c for c in found if (c.path, c.what) == (path, what)]
      if of == "seconds":
        mine = [c for c in mine if c.seconds]
        y = [statistics.median(c.seconds) for c in mine]
      else:
        y = [c.bytes / 2**20 for c in mine]
      lines[f"{what}, {path}"] = ([c.length for c in mine], y)

    paths.append(
      save_lines(
        workdir / f"{of}.png",
        lines,
        x_label="context T, tokens",
        y_label=label,
        log_x=True,
        log_y=True,
      )
    )
  return paths
