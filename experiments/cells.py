"""Cells of an experiment: each combination of settings, measured once."""

import functools
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attnjax.config import Config, to_dict
from attnjax.runs import measure_once

__all__ = ["measured_cells"]


def measured_cells(
  config: Config,
  workdir: Path,
  axes: Sequence[str],
  measure: Callable[..., dict],
  shown: Callable[[dict], Any],
) -> dict[tuple, dict]:
  """Measures every cell, or finds it measured.

  A cell is kept in ``cells/`` of the directory as soon as it is measured, and
  found again whatever other cells are asked for.

  Args:
    config: of the experiment.
    workdir: that has the cells.
    axes: settings of several values each; a cell has one of each.
    measure: ``(config, *values) -> measures``, of what JSON can hold.
    shown: what is printed of the measures of a cell.

  Returns:
    Values of the axes -> measures.

  >>> import dataclasses, tempfile
  >>> from pathlib import Path
  >>> from attnjax.config import Config
  >>> @dataclasses.dataclass(frozen=True)
  ... class Rates(Config):
  ...   names: tuple[str, ...] = ("a", "b c")
  ...   rates: tuple[float, ...] = (0.1,)
  >>> folder = Path(tempfile.mkdtemp())
  >>> found = measured_cells(
  ...   Rates(), folder, ("names", "rates"),
  ...   lambda config, name, rate: {"size": len(name)}, lambda x: x["size"])
  a_0.1 1
  b_c_0.1 3
  >>> found["b c", 0.1], (folder / "cells" / "b_c_0.1.json").exists()
  ({'size': 3}, True)
  """
  # Which cells there are changes none of them.
  asked = to_dict(config)
  for name in (*axes, "processes"):
    asked.pop(name, None)

  results: dict[tuple, dict] = {}
  for cell in itertools.product(*(getattr(config, name) for name in axes)):
    name = _name(cell)
    results[cell] = measure_once(
      workdir / "cells" / f"{name}.json",
      asked,
      functools.partial(measure, config, *cell),
    )
    print(name, shown(results[cell]), flush=True)
  return results


def _name(cell: tuple) -> str:
  """Values of a cell as the name of a file."""
  said = [f"{x:g}" if isinstance(x, float) else str(x) for x in cell]
  return " ".join(said).replace(", ", "_").replace(" ", "_")
